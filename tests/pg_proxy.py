"""A proxy before a PostgreSQL server that loses connections, at a commit or at once, or keeps answers back."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

When = Literal["before", "after"]
SOCKET = ".s.PGSQL.5432"
COMMITTED = b"C\x00\x00\x00\x0bCOMMIT\x00"
"""The server's answer to a commit, as a message of its protocol."""


class CuttingProxy:
    """Forwards every connection. `cut` arms it for the next commit, whose answer the client never sees."""

    def __init__(self, server: Path) -> None:
        self._server = server
        self.folder = Path(tempfile.mkdtemp(prefix="wa-relay-proxy-"))
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.folder / SOCKET))
        self._listener.listen(64)
        self._armed: When | None = None
        self._holds: Callable[[], bool] = lambda: False
        self._released = threading.Event()
        self.holding = threading.Event()
        self._skip = 0
        self._open: set[socket.socket] = set()
        self._flowing = threading.Event()
        self._flowing.set()
        self.cuts = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        self._flowing.set()
        self.cut_all()

    def cut(self, when: When, *, skip: int = 0) -> None:
        """Cuts the connection at the next commit but `skip`: before the server has it, or when its answer has come."""
        self._skip = skip
        self._armed = when

    def hold_once(self, condition: Callable[[], bool]) -> None:
        """Keeps the answer to the first commit at which `condition` holds back until `release`.

        Other connections continue: an answer to their queries does not show who knows of the commit.
        """
        self._holds = condition

    def release(self) -> None:
        """Forwards what is held."""
        self._released.set()

    def cut_all(self) -> int:
        """Cuts every connection at once; returns their number."""
        cut = list(self._open)
        for each in cut:
            _end(each)
        return len(cut)

    def isolate(self) -> None:
        """Forwards nothing more, and closes nothing: the network is gone, and neither side knows it yet."""
        self._flowing.clear()

    def reconnect(self) -> None:
        """Ends `isolate`, whose connections are lost, and disarms `cut`."""
        self._armed = None
        self.cut_all()
        self._flowing.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server:
            try:
                server.connect(str(self._server / SOCKET))
            except OSError:
                return
            self._open.add(client)
            back = threading.Thread(target=self._answers, args=(server, client), daemon=True)
            back.start()
            while data := _receive(client):
                self._flowing.wait()
                if b"commit" in data and self._is_due("before"):
                    break
                if not _send(server, data):
                    break
            self._open.discard(client)
            _end(server)
            _end(client)
            back.join()

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        while data := _receive(server):
            self._flowing.wait()
            if COMMITTED in data and not self.holding.is_set() and self._holds():
                self.holding.set()
                self._released.wait(20.0)
            if COMMITTED in data and self._is_due("after"):
                break
            if not _send(client, data):
                break
        _end(client)

    def _is_due(self, when: When) -> bool:
        if self._armed != when:
            return False
        self._skip -= 1
        if self._skip >= 0:
            return False
        self._armed = None
        self.cuts += 1
        return True


def _receive(source: socket.socket) -> bytes:
    try:
        return source.recv(65536)
    except OSError:
        return b""


def _send(target: socket.socket, data: bytes) -> bool:
    try:
        target.sendall(data)
    except OSError:
        return False
    return True


def _end(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
