"""The settings that daemons on one database compare."""

from __future__ import annotations

import json
from pathlib import Path

from wa_relay.config import load
from wa_relay.loops.lease import settings_of


def test_conditions_and_hours_are_compared_without_a_warning(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        '[opening.completed]\nwhen = { interest = ["yes", 5] }\n[quiet_hours]\ndays = { sat = "08:00-12:00" }\n',
        encoding="utf-8",
    )
    config.chmod(0o600)
    should = json.loads(settings_of(load(config, {}, cwd=tmp_path)))["should"]
    assert should["opening.completed"]["when"] == {"interest": ["yes", 5]}
    assert should["quiet_hours.days"] == {"sat": [[480, 720]]}
