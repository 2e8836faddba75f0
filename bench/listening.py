"""Listeners of events as a process: `python -m bench.listening URL TOKEN COUNT`. They read everything and keep
nothing."""

from __future__ import annotations

import selectors
import socket
import sys
from urllib.parse import urlsplit

CHUNK = bytearray(1 << 18)


def main() -> None:
    url, token, count = urlsplit(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    request = f"GET /api/events HTTP/1.1\r\nHost: {url.netloc}\r\nX-Service-Token: {token}\r\n\r\n".encode()
    listening = selectors.DefaultSelector()
    for _ in range(count):
        one = socket.create_connection((url.hostname or "", url.port or 80))
        one.sendall(request)
        assert one.recv(4096).startswith(b"HTTP/1.1 200")
        listening.register(one, selectors.EVENT_READ)
    print("listening", flush=True)
    while listening.get_map():
        for key, _ in listening.select():
            client = key.fileobj
            assert isinstance(client, socket.socket)
            try:
                read = client.recv_into(CHUNK)
            except ConnectionError:
                read = 0
            if not read:
                listening.unregister(client)
                client.close()


if __name__ == "__main__":
    main()
