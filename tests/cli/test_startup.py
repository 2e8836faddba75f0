"""Start-up: a command loads its own few modules, and no library beyond those of Typer and Rich."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cli.whole import environment
from tests.story import ANA, Story
from wa_relay import cli
from wa_relay.cli.app import ENTRIES
from wa_relay.cli.lazy import load_command

CLI = Path(cli.__file__).parent
IMPORTS = (ast.Import, ast.ImportFrom)
LOADED = """
import json, sys
try:
    {call}
except SystemExit as end:
    assert not end.code, end.code
finally:
    sys.stdout = sys.__stdout__
    print()
    print(json.dumps(sorted(sys.modules)))
"""
PREPARED = """
import json, os
from pathlib import Path
from wa_relay.config import load, schema
load(Path("config.toml"), os.environ, cwd=Path.cwd())
tables = (each for each in vars(schema).values() if isinstance(each, type) and issubclass(each, schema.Table))
print(json.dumps([table.__name__ for table in tables if table.__pydantic_complete__]))
"""
RELAY = "from wa_relay.cli.app import run; run({arguments!r})"
HELLO = """
    import typer
    from rich.console import Console
    from rich.table import Table
    app = typer.Typer(add_completion=False)
    @app.command()
    def hello(name: str = "you") -> None:
        Console().print(Table(title=f"Hello {{name}}"))
    app({arguments!r})"""

HELP_ROOMS = {"basics", "cli", "text"}
READING_ROOMS = HELP_ROOMS | {"channel", "config", "ledger", "moments", "phone", "reports"}
HEAVY = {
    "aiohttp",
    "apscheduler",
    "asyncio",
    "httpx",
    "multiprocessing",
    "phonenumbers",
    "requests",
    "sqlite_utils",
    "ssl",
    "twilio",
    "uvloop",
    "wa_relay.daemon",
    "wa_relay.ledger.schema",
    "wa_relay.standins",
}
"""Modules that slow commands down when a careless import brings them; the first four cost 30 ms and more each."""

ASIDE = {
    "wa_relay.channel.refusals",
    "wa_relay.cli.report_html",
    "wa_relay.cli.report_page",
    "wa_relay.model",
    "wa_relay.reports.call_list",
    "wa_relay.reports.charts",
    "wa_relay.reports.conversation_list",
    "wa_relay.reports.export",
    "wa_relay.reports.why",
}
"""Our own modules that neither `history` nor `stats` uses: with them, and with the other's, each took a tenth more."""
OF_STATS = {
    "concurrent.futures",
    "statistics",
    "wa_relay.cli.report_csv",
    "wa_relay.cli.report_table",
    "wa_relay.reports.awaiting_operator",
    "wa_relay.reports.group_names",
    "wa_relay.reports.limits",
    "wa_relay.reports.stats_queries",
}
OF_HISTORY = {
    "wa_relay.cli.bubbles",
    "wa_relay.cli.conversation_pages",
    "wa_relay.ledger.customers",
    "wa_relay.ledger.store",
    "wa_relay.reports.attachments",
    "wa_relay.reports.conversation",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A database in which one person was called and answered."""
    story = Story(tmp_path / "relay.db")
    story.call("conv_1")
    story.send()
    story.write("Hola")
    story.close()
    (tmp_path / "config.toml").write_text('[database]\npath = "relay.db"\n', encoding="utf-8")
    return tmp_path


def loaded(call: str, folder: Path) -> set[str]:
    """The modules of a fresh process after a command."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(call=call)],
        env=environment(),
        cwd=folder,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return set(json.loads(done.stdout.splitlines()[-1]))


def libraries(modules: set[str]) -> set[str]:
    """The packages among them that are neither Python's nor ours; finders of installed projects don't count."""
    tops = {name.partition(".")[0] for name in modules}
    return {name for name in tops - sys.stdlib_module_names if not name.startswith("_")} - {"wa_relay", "sitecustomize"}


@pytest.mark.parametrize("name", ENTRIES)
def test_the_list_shows_the_first_line_of_the_help_of_a_command(name: str) -> None:
    entry = ENTRIES[name]
    assert load_command(name, entry).help.splitlines()[0] == entry.summary
    assert entry.example.startswith("wa-relay ")


@pytest.mark.parametrize("path", sorted(CLI.glob("*.py")), ids=lambda path: path.name)
def test_no_module_of_a_command_imports_inside_a_function(path: Path) -> None:
    functions = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef))
    inside = [node.lineno for function in functions for node in ast.walk(function) if isinstance(node, IMPORTS)]
    assert not inside


@pytest.mark.parametrize(
    ("arguments", "rooms", "others"),
    [
        (("--help",), HELP_ROOMS, ASIDE | OF_STATS | OF_HISTORY),
        (("history", ANA), READING_ROOMS, ASIDE | OF_STATS),
        (("stats",), READING_ROOMS, ASIDE | OF_HISTORY),
        (("stats", "--json"), READING_ROOMS, ASIDE | OF_HISTORY),
    ],
    ids=["help", "history", "stats", "stats-json"],
)
def test_a_command_loads_no_more_than_a_bare_one_and_its_own_rooms(
    folder: Path, arguments: Sequence[str], rooms: set[str], others: set[str]
) -> None:
    modules = loaded(RELAY.format(arguments=list(arguments)), folder)
    own = {name.split(".")[1] for name in modules if name.startswith("wa_relay.")}
    assert own <= rooms
    assert not modules & (HEAVY | others)
    bare = libraries(loaded(HELLO.format(arguments=[]), folder)) | libraries(
        loaded(HELLO.format(arguments=["--help"]), folder)
    )
    assert libraries(modules) <= bare


def test_pydantic_prepares_no_table_that_is_not_written(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PREPARED], env=environment(), cwd=folder, capture_output=True, timeout=60, check=True
    )
    assert json.loads(done.stdout) == []
