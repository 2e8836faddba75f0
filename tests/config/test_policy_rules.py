"""From settings to rules."""

from __future__ import annotations

from datetime import time
from pathlib import Path
from zoneinfo import ZoneInfo

from wa_relay.config import Reply, load
from wa_relay.config.policy_rules import rules_of
from wa_relay.policy import OpeningText, Rules
from wa_relay.text.cleaning import keyword


def rules(folder: Path, text: str = "", **env: str) -> Rules:
    (folder / "config.toml").write_text(text, encoding="utf-8")
    return rules_of(load(folder / "config.toml", env, cwd=folder))


def test_the_defaults_are_the_contracts(tmp_path: Path) -> None:
    found = rules(tmp_path)
    assert found.timezone == ZoneInfo("America/Bogota")
    body = "Hola {client_name}, gracias por atender nuestra llamada. ¿Te quedó alguna duda?"
    assert found.openings == {"completed": OpeningText(body, "", {"1": "{client_name}"})}
    assert (found.max_call_age, found.min_gap, found.burst_limit, found.push_grace) == (86400, 0, 200, 20)
    assert (found.quiet, found.debounce, found.max_length, found.divisor) == (None, 2.0, 1500, 1.0)
    assert found.fallback == "En este momento no podemos responderte. Te escribiremos pronto."
    assert found.confirmation == "Listo, no te escribiremos más. Escribe ALTA si cambias de idea."
    assert (found.unknown_sender, found.default_name, found.text_only) == ("ignore", "", Reply().text_only)
    assert found.opt_out_keywords == {"baja", "dar de baja", "stop", "parar", "detener", "alto", "no molestar"}
    assert found.return_keywords == {"alta", "start"}


def test_hours_become_seconds_and_times_a_pair(tmp_path: Path) -> None:
    found = rules(
        tmp_path,
        "[poll]\nmax_call_age_hours = 12\n[opening]\nmin_gap_hours = 0.5\n"
        '[quiet_hours]\nstart = "21:00"\nend = "08:00"\n',
    )
    assert (found.max_call_age, found.min_gap, found.quiet) == (43200, 1800, (time(21), time(8)))


def test_an_outcome_gets_the_opening_that_is_written_for_it(tmp_path: Path) -> None:
    found = rules(tmp_path, '[opening.voicemail]\nbody = "Te llamamos"\n[opening.completed]\nbody = ""\n')
    assert found.openings["voicemail"].body == "Te llamamos"
    assert "completed" not in found.openings or not found.openings["completed"].body


def test_keywords_are_kept_in_their_normal_form(tmp_path: Path) -> None:
    found = rules(tmp_path, '[opt_out]\nkeywords = ["¡Basta ya!", "NO MÁS"]\nreturn_keywords = ["Sí"]\n')
    assert found.opt_out_keywords == {"basta ya", "no mas"}
    assert found.return_keywords == {"si"}


def test_a_keyword_without_a_letter_stands_for_no_message(tmp_path: Path) -> None:
    found = rules(tmp_path, '[opt_out]\nkeywords = ["🛑", "BAJA"]\nreturn_keywords = ["!"]\n')
    assert keyword("👍") not in found.opt_out_keywords | found.return_keywords
    assert found.opt_out_keywords == {"baja"}


def test_our_numbers_are_the_senders_unless_a_messaging_service_knows_more(tmp_path: Path) -> None:
    text = '[twilio]\nsender = "whatsapp:+14155238886"\n{}[[sender]]\nnumber = "whatsapp:+573000000001"\n'
    assert rules(tmp_path, text.format("")).own_numbers == {"+14155238886", "+573000000001"}
    service = f'messaging_service_sid = "MG{"0" * 32}"\n'
    assert rules(tmp_path, text.format(service)).own_numbers == frozenset()
