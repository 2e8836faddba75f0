"""Plants each fault alone and writes doctor's finding into the table of a page: `python -m tests.doctor PAGE`."""

from __future__ import annotations

import re
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from tests.doctor.healthy import examined, faults_of, healthy
from tests.doctor.planted import FAULTS, Ground, MountRefused, Planted
from tests.e2e.stage import run
from wa_relay.doctor import Check

BEGIN, END = "<!-- faults: begin -->\n", "<!-- faults: end -->\n"
HEAD = "| fault | check | | what doctor says | what to do |\n|---|---|---|---|---|\n"


async def found_for(fault: Planted, folder: Path) -> Check:
    """Returns doctor's findings where only this fault is planted."""
    async with AsyncExitStack() as opened, healthy(folder) as s:
        ground = Ground(s, opened, {})
        await fault.plant(ground)
        found = faults_of(await examined(s, ground.clock))
        assert set(found) == {fault.check}, found
        return found[fault.check]


def row(fault: Planted, found: Check, folder: Path) -> str:
    """A line of the table, with the names of a usual set-up."""

    def usual(text: str) -> str:
        text = text.replace(str(folder), "/var/lib/wa-relay").replace("\n", " ").replace("|", "\\|")
        text = re.sub(r"http://127\.0\.0\.1:\d+(?=/webhook|/health|/twilio| changes| to | leads)", PUBLIC, text)
        text = re.sub(r"http://127\.0\.0\.1:\d+", "http://127.0.0.1:3001", text)
        text = re.sub(r"pid \d+ since [\dTZ:-]+", "pid 812 since 2026-11-28T08:00:00Z", text)
        text = re.sub(r"\d{4}-\d\d-\d\dT[\d:]+Z", "2026-11-28T08:00:00Z", text)
        return re.sub(r"\b\d+ s ahead", "45 s ahead", text).replace("<", "&lt;")

    mark = {"warn": "!", "fail": "✗"}[found.status]
    return f"| {fault.name} | {found.name} | {mark} | {usual(found.message)} | {usual(str(found.fix))} |\n"


PUBLIC = "https://relay.example.com"


def main(page: Path) -> None:
    """Writes the table."""
    rows = []
    for fault in FAULTS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            try:
                rows.append(row(fault, run(found_for(fault, folder)), folder))
            except MountRefused:
                sys.stderr.write(f"skipped: {fault.name}\n")
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(before + BEGIN + HEAD + "".join(rows) + END + after, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
