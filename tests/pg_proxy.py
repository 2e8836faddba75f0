"""A proxy before a PostgreSQL server: cuts a connection at a commit, before the server has it or after, or waits."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

When = Literal["before", "after"]
SOCKET = ".s.PGSQL.5432"


class CuttingProxy:
    """Forwards every connection. `cut` arms it for the next commit, whose answer the client never sees."""

    def __init__(self, server: Path) -> None:
        self._server = server
        self.folder = Path(tempfile.mkdtemp(prefix="wa-relay-proxy-"))
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.folder / SOCKET))
        self._listener.listen(16)
        self._armed: When | None = None
        self._holds: Callable[[], bool] = lambda: False
        self._released = threading.Event()
        self.holding = threading.Event()
        self.cuts = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()

    def cut(self, when: When) -> None:
        """Cuts the connection at the next commit."""
        self._armed = when

    def hold_once(self, condition: Callable[[], bool]) -> None:
        """Keeps the server's answers back from the first one at which `condition` holds, until `release`."""
        self._holds = condition

    def release(self) -> None:
        """Forwards what is held."""
        self._released.set()

    def _pump_answers(self, server: socket.socket, client: socket.socket) -> None:
        while data := _receive(server):
            if not self.holding.is_set() and self._holds():
                self.holding.set()
                self._released.wait(20.0)
            try:
                client.sendall(data)
            except OSError:
                return

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(str(self._server / SOCKET))
            threading.Thread(target=self._pump_answers, args=(server, client), daemon=True).start()
            while data := _receive(client):
                if self._armed is not None and b"commit" in data:
                    when, self._armed = self._armed, None
                    self.cuts += 1
                    if when == "after":
                        # Nothing more goes to the client; the server carries the command out.
                        client.shutdown(socket.SHUT_RDWR)
                        server.sendall(data)
                        while _receive(server, 0.3):
                            pass
                    return
                server.sendall(data)


def _receive(source: socket.socket, within: float | None = None) -> bytes:
    try:
        source.settimeout(within)
        return source.recv(65536)
    except OSError:
        return b""
