"""The text of the systemd units (systemd.service(5), systemd.exec(5), systemd.timer(5))."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SERVICE, STATS_SERVICE, STATS_TIMER = "wa-relay.service", "wa-relay-stats.service", "wa-relay-stats.timer"
STOP_SECONDS, START_SECONDS, WATCHDOG_SECONDS = 60, 600, 60
"""A stop waits up to 40 s for a request to Twilio; a start may check or migrate a large file."""

HOMES, TEMPORARY = ("/home", "/root", "/run/user"), ("/tmp", "/var/tmp")  # noqa: S108 - places that systemd can hide
HARDENING = """UMask=0077
ProtectSystem=strict
PrivateDevices=yes
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
# No memory image of customers' messages and secrets on disk.
LimitCORE=0"""


@dataclass(frozen=True, slots=True)
class Installation:
    """The values that the units need. All paths are absolute; `program` is a command and its first arguments.

    `python` is the folder of the interpreter, which may differ from the program's.
    """

    program: Sequence[str]
    python: Path
    config: Path
    database: Path
    log_file: Path | None
    user: str
    timezone: str


def serve_unit(installation: Installation) -> str:
    """Returns the unit of the daemon."""
    return f"""# {SERVICE}
[Unit]
Description=wa-relay: WhatsApp after the calls of ElevenLabs agents
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=300
StartLimitBurst=10

[Service]
Type=notify
NotifyAccess=main
ExecStart={_command(installation, "serve")}
{_place(installation)}
# The watchdog is fed by the event loop and by a commit: a hung process is killed and started again.
WatchdogSec={WATCHDOG_SECONDS}
TimeoutStartSec={START_SECONDS}
Restart=on-failure
RestartSec=5
# An invalid configuration or another program's database is not cured by another start.
RestartPreventExitStatus=65 78
# A request to Twilio in flight is waited for (40 s at most); killed earlier, it would be uncertain.
KillMode=mixed
KillSignal=SIGTERM
TimeoutStopSec={STOP_SECONDS}
LimitNOFILE=8192
MemoryMax=512M
{HARDENING}

[Install]
WantedBy=multi-user.target
"""


def stats_units(installation: Installation) -> list[str]:
    """Returns the service that writes the report as a page, and the timer that runs it every morning."""
    report = installation.database.with_name("report.html")
    arguments = ("stats", "--since", "7d", "--by", "batch", "--format", "html", "--output", str(report))
    service = f"""# {STATS_SERVICE}
[Unit]
Description=wa-relay: report of the last seven days

[Service]
Type=oneshot
ExecStart={_command(installation, *arguments)}
{_place(installation)}
{HARDENING}
"""
    timer = f"""# {STATS_TIMER}
[Unit]
Description=wa-relay: report every morning

[Timer]
OnCalendar=*-*-* 06:30:00 {installation.timezone}
Persistent=yes
Unit={STATS_SERVICE}

[Install]
WantedBy=timers.target
"""
    return [service, timer]


def _command(installation: Installation, *arguments: str) -> str:
    program, *first = installation.program
    parts = (*first, "--config", str(installation.config), *arguments)
    # A $ begins a variable in the arguments, but stands for itself in the program's path.
    return " ".join((_quoted(program), *(_quoted(word).replace("$", "$$") for word in parts)))


def _place(installation: Installation) -> str:
    """The user, the folder, and what may be written. SQLite writes files beside the database."""
    written = [installation.database.parent]
    if installation.log_file is not None and installation.log_file.parent not in written:
        written.append(installation.log_file.parent)
    named = [Path(installation.program[0]), installation.python, installation.config, *written]
    # What the program needs in a home or in a temporary folder must stay visible.
    home = "read-only" if any(_inside(path, HOMES) for path in named) else "yes"
    private = "no" if any(_inside(path, TEMPORARY) for path in named) else "yes"
    return f"""User={installation.user}
WorkingDirectory={str(installation.database.parent).replace("%", "%%")}
ReadWritePaths={" ".join(_quoted(str(path)) for path in written)}
ProtectHome={home}
PrivateTmp={private}"""


def _inside(path: Path, places: Sequence[str]) -> bool:
    return any(path.is_relative_to(place) for place in places)


def _quoted(word: str) -> str:
    """One word of a unit, in quotes where it needs them (systemd.syntax(7))."""
    escaped = word.replace("%", "%%")
    if escaped and not any(character in escaped for character in " \t\n\"'\\;"):
        return escaped
    inner = escaped.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{inner}"'
