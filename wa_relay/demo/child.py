"""The real daemon as a child process, and the commands beside it; all of them end with the demo."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import wa_relay
from wa_relay.standins.port import free_port

_LISTENING = re.compile(r"listens on (http://\S+)")
_SECRETS = ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "ELEVENLABS_API_KEY", "MICROSERVICE_TOKEN")
_PORT_TAKEN = 75
_STARTS = 3
_START_SECONDS = 15.0
_STOP_SECONDS = 2.0
_PR_SET_PDEATHSIG = 1


class StartFailed(Exception):
    """The daemon did not come up."""


class Daemon:
    """One `wa-relay serve` on a configuration of the demo's own, in the demo's own folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.config, self.log = folder, folder / "config.toml", folder / "daemon.log"
        self.url = ""
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Its process id, 0 before it runs."""
        return self._process.pid if self._process else 0

    async def start(self, settings: Callable[[str, int], Mapping[str, Mapping[str, Any]]]) -> None:
        """Starts it on a free port; `settings` gets its URL and port and gives the configuration.

        Raises `StartFailed`.
        """
        for _ in range(_STARTS):
            port = free_port()
            url = f"http://127.0.0.1:{port}"
            self.config.write_text(_toml(settings(url, port)), encoding="utf-8")
            self.config.chmod(0o600)
            with self.log.open("ab") as log:
                self._process = await self._spawn("serve", stderr=log.fileno(), env=_environment({"NO_COLOR": "1"}))
            if await self._listens():
                self.url = url
                return
            # Another process may have taken the port since it was found free.
            if await self._process.wait() != _PORT_TAKEN:
                break
        raise StartFailed("the daemon did not start")

    async def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), _START_SECONDS)
        except TimeoutError:
            self._process.kill()
            return False
        return bool(_LISTENING.search(line.decode(errors="replace")))

    async def ended(self) -> int:
        """Waits until it ends; returns its exit status, negative for a signal."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self) -> None:
        """Ends it as an operator would, and kills it if that takes long."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _STOP_SECONDS)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def command(self, *arguments: str, env: Mapping[str, str], typed: str = "") -> tuple[int, str, str]:
        """Runs a command on the same configuration: exit status, standard output, standard error.

        `typed` is the line that it reads from standard input.
        """
        process = await self._spawn(
            *arguments, stderr=asyncio.subprocess.PIPE, env=_environment(env), typed=bool(typed)
        )
        try:
            out, err = await process.communicate(typed.encode() + b"\n" if typed else None)
        finally:
            if process.returncode is None:
                process.kill()
        return process.returncode or 0, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")

    async def _spawn(
        self, *arguments: str, stderr: int, env: Mapping[str, str], typed: bool = False
    ) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "wa_relay", "--config", str(self.config), *arguments),
            stdin=asyncio.subprocess.PIPE if typed else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env=env,
            cwd=self.folder,
            # The demo handles Ctrl-C itself, and stops the daemon when it is ready.
            start_new_session=True,
            preexec_fn=_dies_with(os.getpid()),
        )


def _dies_with(parent: int) -> Callable[[], None]:
    """Makes a child that the kernel ends when the demo ends, for whatever reason; Linux only."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)

    def settle() -> None:
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)

    return settle


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without the variables that configure a real relay or a proxy."""
    kept = {name: value for name, value in os.environ.items() if not _foreign(name)}
    root = Path(wa_relay.__file__).resolve().parents[1]
    if root.name not in {"site-packages", "dist-packages"}:
        # When run from its source, the child can't find it from its own folder.
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, (str(root), kept.get("PYTHONPATH"))))
    return {**kept, **more}


def _foreign(name: str) -> bool:
    upper = name.upper()
    return upper.startswith("WA_RELAY_") or upper.removesuffix("_FILE") in _SECRETS or upper.endswith("_PROXY")


def _toml(sections: Mapping[str, Mapping[str, Any]]) -> str:
    return "\n".join(f"[{section}]\n" + "".join(map(_line, values.items())) for section, values in sections.items())


def _line(pair: tuple[str, Any]) -> str:
    name, value = pair
    if isinstance(value, Mapping):
        inner = ", ".join(f"{json.dumps(key)} = {json.dumps(text, ensure_ascii=False)}" for key, text in value.items())
        return f"{name} = {{ {inner} }}\n"
    return f"{name} = {json.dumps(value, ensure_ascii=False)}\n"
