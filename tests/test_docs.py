"""The documents are true: commands, keys, links, snippets, names and numbers."""

from __future__ import annotations

import itertools
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import typer.main

from tests.test_architecture import ROOMS
from wa_relay.channel.errors import CODES
from wa_relay.cli.app import ENTRIES, app
from wa_relay.cli.lazy import load_command
from wa_relay.config import keys, load, schema
from wa_relay.config.list_types import ALERTS
from wa_relay.ledger import schema as database_schema
from wa_relay.model import RelayError
from wa_relay.policy import SkipReason
from wa_relay.server.openapi import description

ROOT = Path(__file__).parent.parent
README, API, ARCHITECTURE = ROOT / "README.md", ROOT / "docs" / "http-api.md", ROOT / "docs" / "architecture.md"
OPERATIONS, COMMANDS, CONTRIBUTING = (
    ROOT / "docs" / "operations.md",
    ROOT / "docs" / "commands.md",
    ROOT / "CONTRIBUTING.md",
)
CONFIGURATION, QUICK_START = ROOT / "docs" / "configuration.md", ROOT / "docs" / "inicio-rapido.md"
CADDYFILE = ROOT / "docs" / "Caddyfile"
OURS = (README, OPERATIONS, COMMANDS, API, ARCHITECTURE, CONFIGURATION, QUICK_START)
DOCUMENTS = tuple(sorted({*OURS, CONTRIBUTING, ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")}))

EXIT_CODES = {0, 1, 2, 65, 74, 75, 78, 130}
OVERRIDES = "#rc=5&rp=all&ct=2000&rt=3000"
LINK = re.compile(r"\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^ *```([\w]*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
KEY_ROW = re.compile(r"^\| `([a-z_.<>]+)` \| `(.*?)` \|", re.MULTILINE)
"""A row of a table of keys: the dotted name, and the default as TOML."""
OTHER = "<other>"
"""In a row's key: every outcome but `completed`."""


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(language: str) -> list[tuple[str, str]]:
    """Every code block of a language, with the name of its document."""
    found = [(name_of(path), match) for path in DOCUMENTS for match in BLOCK.findall(text_of(path))]
    return [(document, body) for document, (kind, body) in found if kind == language]


def commands() -> dict[str, Any]:
    return {name: load_command(name, entry) for name, entry in ENTRIES.items()}


def flags_of(command: Any) -> set[str]:
    """The long options that the help shows."""
    shown = (parameter for parameter in command.params if not getattr(parameter, "hidden", False))
    return {flag for parameter in shown for flag in parameter.opts if flag.startswith("--")} - {"--help"}


def rows_after(document: str, heading: str) -> list[list[str]]:
    """The cells of the table whose first heading is that."""
    lines = document[document.index(f"| {heading} |") :].splitlines()[2:]
    table = "\n".join(lines).split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table]


# --- commands ---


def command_lines() -> list[tuple[str, list[str]]]:
    """The arguments of every `wa-relay …` in a code block."""
    lines = [(document, line) for kind in ("sh", "cron") for document, body in blocks(kind) for line in joined(body)]
    called = ((document, called_in(line)) for document, line in lines)
    return [(document, words) for document, words in called if words]


def joined(body: str) -> list[str]:
    return body.replace("\\\n", " ").splitlines()


def called_in(line: str) -> list[str]:
    """The words of a line from `wa-relay` on, where that is what the line runs."""
    line = re.sub(r"^[\d*/, ]+ wa-relay (?=\S)", "", line.strip())  # the times and the user of a crontab
    try:
        words = shlex.split(line, comments=True)
    except ValueError:  # the middle of a text over several lines
        return []
    if words[:3] == ["sudo", "-u", "wa-relay"]:
        words = words[3:]
    words = list(itertools.takewhile(lambda word: word not in (">", "|", "&&"), words))
    return words if words and Path(words[0]).name == "wa-relay" else []


@pytest.mark.parametrize(
    ("document", "words"), command_lines(), ids=lambda each: " ".join(each)[:60] if isinstance(each, list) else each
)
def test_every_command_line_in_a_document_parses(document: str, words: list[str]) -> None:
    if words[1:] == ["--version"]:
        return
    root: Any = typer.main.get_command(app)
    context = root.make_context("wa-relay", list(words[1:]))
    name, command, rest = root.resolve_command(context, [*context._protected_args, *context.args])
    command.make_context(name, rest, parent=context)


def test_enough_command_lines_are_looked_at() -> None:
    looked_at = {word for _, words in command_lines() for word in words}
    assert looked_at >= {"serve", "service", "init", "doctor", "send-test", "history", "stats", "resolve", "pause"}


@pytest.mark.parametrize("line", ["wa-relay histroy +57", "sudo -u wa-relay wa-relay stats --sice 7d"])
def test_a_wrong_command_line_would_be_seen(line: str) -> None:
    words = called_in(line)
    with pytest.raises(Exception, match=r"histroy|--sice"):
        test_every_command_line_in_a_document_parses("", words)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_command_named_in_a_text_exists(document: Path) -> None:
    named = set(re.findall(r"`wa-relay(?: --config \S+)? ([a-z][a-z-]*)", text_of(document)))
    assert named <= set(commands())


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_and_option_is_in_the_reference(name: str) -> None:
    section = text_of(COMMANDS).partition(f"### {name}\n")[2].partition("\n##")[0]
    assert section
    missing = {flag for flag in flags_of(commands()[name]) if flag not in section}
    assert not missing


def test_the_reference_is_what_the_help_says() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "commands.py"))
    assert text_of(COMMANDS) == script["reference"](), "run: make commands"


def test_the_reference_has_the_exit_codes_of_the_contract_and_no_other() -> None:
    assert {int(row[0]) for row in rows_after(text_of(COMMANDS), "exit code")} == EXIT_CODES


def test_no_error_ends_with_a_code_that_the_reference_does_not_have() -> None:
    def errors(kind: type[RelayError]) -> Iterator[type[RelayError]]:
        yield kind
        for each in kind.__subclasses__():
            yield from errors(each)

    assert {int(getattr(error, "exit_code", 1)) for error in errors(RelayError)} <= EXIT_CODES


def test_the_make_targets_that_are_named_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    for document in DOCUMENTS:
        assert set(re.findall(r"(?:`|^)make ([a-z-]+)", text_of(document), re.MULTILINE)) <= targets, document


@cache
def help_of(name: str) -> str:
    command = [sys.executable, "-m", "wa_relay.standins", name, "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_the_stand_ins_take_the_options_that_are_named() -> None:
    lines = [line for _, body in blocks("sh") for line in joined(body) if "wa_relay.standins" in line]
    assert lines
    for line in lines:
        words = shlex.split(line)
        name = words[words.index("wa_relay.standins") + 1]
        assert all(word in help_of(name) for word in words if word.startswith("--"))


def test_the_glossary_has_at_most_twenty_nouns() -> None:
    assert 10 <= len(rows_after(text_of(ARCHITECTURE), "noun")) <= 20


def test_the_guide_for_contributors_is_short() -> None:
    assert len(text_of(CONTRIBUTING).splitlines()) <= 60


# --- configuration ---


def documented_keys() -> dict[str, str]:
    others = [outcome for outcome in schema.OUTCOMES if outcome != "completed"]
    found: dict[str, str] = {}
    for name, default in KEY_ROW.findall(text_of(CONFIGURATION)):
        found |= {name.replace(OTHER, outcome): default for outcome in (others if OTHER in name else [""])}
    return found


def test_every_key_is_documented_and_no_other() -> None:
    assert set(documented_keys()) == set(keys.KEYS)


def test_the_documented_defaults_are_those_in_force(tmp_path: Path) -> None:
    lines = [f"{name} = {default}\n" for name, default in documented_keys().items()]
    (tmp_path / "config.toml").write_text("".join(lines), encoding="utf-8")
    documented, default = load(tmp_path / "config.toml", {}, cwd=tmp_path), load(None, {}, cwd=tmp_path)
    for table in schema.Tables.model_fields:
        assert getattr(documented, table) == getattr(default, table), table


def test_the_short_environment_names_are_documented() -> None:
    assert all(key.short in text_of(CONFIGURATION) for key in keys.KEYS.values() if key.short)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_no_document_names_a_key_that_does_not_exist(document: Path) -> None:
    tables = "|".join(schema.Tables.model_fields)
    named = set(re.findall(rf"`((?:{tables})\.[a-z_]+(?:\.[a-z_]+)*)`", text_of(document)))
    modules = {name for name in named if name.endswith((".py", ".sock", ".toml"))}
    assert named - modules <= {*keys.KEYS, *keys.TABLES, *ALERTS}


@pytest.mark.parametrize(("document", "body"), blocks("toml"), ids=lambda each: str(each)[:30])
def test_every_snippet_of_the_configuration_loads(document: str, body: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(body, encoding="utf-8")
    load(file, {}, cwd=tmp_path)


def test_the_first_configuration_of_the_operations_is_all_that_serve_needs(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(
        next(body for document, body in blocks("toml") if document == name_of(OPERATIONS)), encoding="utf-8"
    )
    load(file, {}, cwd=tmp_path, serving=True)


def test_secrets_may_stand_in_a_file_under_the_name_that_is_shown(tmp_path: Path) -> None:
    (tmp_path / "twilio").write_text("from-a-file\n", encoding="utf-8")
    variable = re.search(r"Environment=(\w+)=%d/twilio", text_of(CONFIGURATION))
    assert variable is not None
    config = load(None, {variable[1]: str(tmp_path / "twilio")}, cwd=tmp_path)
    assert config.twilio.auth_token.reveal() == "from-a-file"


# --- links, routes, codes ---


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text_of(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in LINK.findall(text_of(document)):
        if target.startswith(("https://", "http://")):
            continue
        file, _, anchor = target.partition("#")
        goal = (document.parent / file).resolve() if file else document
        assert goal.exists(), target
        assert not anchor or anchor in anchors(goal), target


def test_every_route_is_documented_and_no_other() -> None:
    rows = rows_after(text_of(API), "request")
    listed = {tuple(row[0].strip("`").split()) for row in rows}
    assert listed == {(method.upper(), path) for path, item in description()["paths"].items() for method in item}


def test_the_operations_have_every_response_to_a_finished_call() -> None:
    rows = rows_after(text_of(OPERATIONS), "code")
    codes = {code for row in rows for code in row[0].split(", ")}
    assert codes == set(description()["paths"]["/api/call-completed"]["post"]["responses"])
    assert all(f"`{reason}`" in text_of(OPERATIONS) for reason in get_args(SkipReason))


@pytest.mark.parametrize("document", OURS, ids=name_of)
def test_every_code_of_twilio_s_that_is_named_is_known(document: Path) -> None:
    assert set(re.findall(r"(?<![\d.])(?:21|63)\d{3}(?![\d.])", text_of(document))) <= set(CODES)


def test_the_incoming_address_is_given_with_its_connection_overrides() -> None:
    addresses = re.findall(r"^ *(https://\S+/webhook/twilio/incoming\S*)$", text_of(OPERATIONS), re.MULTILINE)
    assert addresses
    assert all(address.endswith(OVERRIDES) for address in addresses)


# --- the files beside the documents ---


def test_the_caddyfile_is_shown_as_it_is() -> None:
    shown = next(body for document, body in blocks("caddyfile") if document == name_of(OPERATIONS))
    assert shown == text_of(CADDYFILE)


def test_the_alert_rules_name_metrics_that_exist() -> None:
    rules = text_of(ROOT / "docs" / "prometheus-rules.yml")
    named = set(re.findall(r"\bwa_relay_[a-z_]+", rules))
    assert len(named) > 5
    assert named <= set(re.findall(r"`(wa_relay_[a-z_]+)`", text_of(ROOT / "docs" / "metrics.md")))


# --- architecture ---


def test_the_rooms_in_the_picture_are_those_of_the_architecture_test() -> None:
    (document, body), *more = blocks("rooms")
    assert not more
    assert document == name_of(ARCHITECTURE)
    assert tuple(tuple(line.split()) for line in body.splitlines()) == ROOMS


def test_every_room_is_explained() -> None:
    explained = {name for row in rows_after(text_of(ARCHITECTURE), "room") for name in re.findall(r"`(\w+)`", row[0])}
    assert explained == {room for line in ROOMS for room in line} - {"__main__"}


def test_every_module_function_and_class_that_is_named_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)(?:: (\w+))?`", text_of(ARCHITECTURE))
    assert len(named) > 20
    for path, name in named:
        file = ROOT / path if path.startswith("tests/") else ROOT / "wa_relay" / path
        assert file.is_file(), path
        assert not name or re.search(rf"(def|class) {name}\b", text_of(file)), f"{path}: {name}"


def test_every_constraint_that_is_named_is_in_the_database() -> None:
    import sqlite3

    from sqlite_utils import Database

    db = sqlite3.connect(":memory:")
    database_schema.create(Database(db))
    there = {row[0] for row in db.execute("select name from sqlite_master")}
    db.close()
    rows = rows_after(text_of(ARCHITECTURE), "invariant")
    marks = re.findall(r"(?:index|indexes|trigger|table) ((?:`\w+`(?:, )?)+)", " ".join(row[1] for row in rows))
    named = {name for mark in marks for name in re.findall(r"`(\w+)`", mark)}
    assert len(named) > 8
    assert named <= there


def test_the_two_copies_of_the_example_are_one() -> None:
    assert text_of(ROOT / "config.example.toml") == text_of(ROOT / "wa_relay" / "config.example.toml")


def test_the_page_of_attachments_names_every_scenario_that_shows_it() -> None:
    page = (ROOT / "docs" / "attachments.md").read_text(encoding="utf-8")
    source = (ROOT / "tests" / "scenarios" / "test_attachments.py").read_text(encoding="utf-8")
    scenarios = set(re.findall(r"^def test_(\w+)", source, re.MULTILINE))
    named = set(re.findall(r"`([a-z0-9_]{25,})`", page))
    assert named - scenarios == set()
    assert scenarios - named <= {
        "a_reply_to_a_message_of_another_conversation_is_not_quoted",
        "an_upload_that_is_refused_permanently_leaves_a_note",
        "history_shows_a_voice_note_with_its_transcript",
    }


def test_the_page_of_sending_names_every_scenario_that_shows_it() -> None:
    page = text_of(ROOT / "docs" / "sending.md")
    source = text_of(ROOT / "tests" / "scenarios" / "test_sending.py")
    scenarios = set(re.findall(r"^def test_(\w+)", source, re.MULTILINE))
    named = set(re.findall(r"\| `([a-z0-9_]+)` \|$", page, re.MULTILINE))
    assert named == scenarios
