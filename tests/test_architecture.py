"""The imports of each room, and its contents. The order of ROOMS is the picture in docs/architecture.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "wa_relay"
ROOMS = (
    ("basics",),
    ("model",),
    ("moments", "phone", "text"),
    ("http", "logs", "metrics", "policy"),
    ("config", "elevenlabs"),
    ("channel", "ledger"),
    ("sources", "agent", "reports"),
    ("loops",),
    ("server",),
    ("doctor",),
    ("console",),
    ("daemon",),
    ("standins",),
    ("demo",),
    ("cli",),
    ("__main__",),
)
"""Every room may import those of the lines above it, and no other."""

RANK = {room: rank for rank, rooms in enumerate(ROOMS) for room in rooms}
STANDINS_KNOW = {"model", "phone"}
"""A stand-in that shared the product's code would share its mistakes."""

PURE = (
    "basics",
    "model",
    "policy",
    "text",
    "moments",
    "elevenlabs/shapes",
    "elevenlabs/texts",
    "elevenlabs/variables",
    "elevenlabs/refusals",
    "agent/turn",
    "agent/replies",
    "agent/tools",
    "agent/recap",
    "agent/greeting",
    "agent/close_reasons",
    "channel/errors",
    "channel/refusals",
    "channel/inbound",
    "channel/attachments",
    "channel/sniffing",
    "sources/push",
    "sources/postcall",
    "sources/batch_outcomes",
    "sources/poll_memory",
    "sources/numbers",
    "sources/jsonbody",
)
IMPURE_MODULES = {"aiohttp", "asyncio", "httpx", "os", "pathlib", "socket", "sqlite3", "subprocess", "time", "twilio"}
HOMES = {
    "twilio": {"channel"},
    "argon2": {"console"},
    "jinja2": {"console"},
    "typer": {"cli", "demo"},
    "rich": {"cli", "demo"},
    "sqlite3": {"ledger", "cli", "doctor"},
    "sqlite_utils": {"ledger"},
    "psycopg": {"ledger"},
    "apscheduler": {"loops"},
    "httpx": {"elevenlabs", "cli", "doctor", "demo"},
    "pydantic": {"config", "elevenlabs", "sources", "standins"},
    "phonenumbers": {"phone"},
    "prometheus_client": {"metrics"},
    "markdown_it": {"text"},
    "holidays": {"policy", "config"},
}
"""The places where a library's name may be written."""

CLOCKS = {"daemon", "cli", "standins", "demo", "logs"}
"""The rooms that look at the clock; a line of the log bears its time, as logging's own records do."""

SQL = re.compile(r"^\s*(select\s.+\sfrom|insert into|update \w+ set|delete from)\b", re.IGNORECASE | re.DOTALL)
LONGEST_FILE, LONGEST_FUNCTION = 400, 60


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> Iterator[str]:
    """The full names of what a module imports, wherever in it."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: imports are absolute"
            whole = node.module == "wa_relay"
            yield from (f"wa_relay.{alias.name}" for alias in node.names) if whole else (node.module,)


def inner(path: Path) -> set[str]:
    """The rooms that a module imports from."""
    names = (name.split(".") for name in imported(path) if name.startswith("wa_relay."))
    return {parts[1] for parts in names} - {"__version__", room_of(path)}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_up(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        assert not inner(path)
        return
    below = {other for other in inner(path) if RANK[other] >= RANK[room]}
    assert not below, f"{room} must not know {', '.join(sorted(below))}"
    if room == "standins":
        assert inner(path) <= STANDINS_KNOW


def test_there_are_no_cycles_between_modules() -> None:
    names = {"wa_relay." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in modules()}
    edges = {name: {other for other in imported(path) if other in names} for name, path in names.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        if name not in done:
            for other in edges[name]:
                visit(other, (*trail, name))
            done.add(name)

    for name in names:
        visit(name, ())


@pytest.mark.parametrize("name", PURE)
def test_decisions_are_pure(name: str) -> None:
    target = PACKAGE / name
    for path in sorted(target.rglob("*.py")) if target.is_dir() else [target.with_suffix(".py")]:
        used = {module.split(".")[0] for module in imported(path)}
        assert not used & IMPURE_MODULES, path


@pytest.mark.parametrize(("library", "homes"), HOMES.items())
def test_a_library_stays_where_it_belongs(library: str, homes: set[str]) -> None:
    users = {room_of(path) for path in modules() if library in {name.split(".")[0] for name in imported(path)}}
    assert users <= homes


def test_sql_lives_in_the_ledger_and_the_reports() -> None:
    for path in modules():
        if room_of(path) in ("ledger", "reports"):
            continue
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not SQL.match(node.value), f"{path}:{node.lineno}"


def test_only_the_edges_know_the_clock() -> None:
    for path in modules():
        if room_of(path) in CLOCKS:
            continue
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in {("time", "time"), ("datetime", "now")}, (
                    f"{path}:{node.lineno}"
                )


def test_files_and_functions_stay_small() -> None:
    for path in modules():
        assert path.read_text(encoding="utf-8").count("\n") <= LONGEST_FILE, path
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                assert length <= LONGEST_FUNCTION, f"{path}:{node.lineno} {node.name} has {length} lines"


def test_only_the_log_room_names_loggers() -> None:
    """A line of another logger goes through the net for libraries, which drops its values."""
    for path in modules():
        if room_of(path) == "logs":
            continue
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                named = (node.value.id, node.attr)
                assert named != ("logging", "getLogger"), f"{path}:{node.lineno}"
                assert named[0] != "warnings", f"{path}:{node.lineno}"
