"""A control socket is beside its database, however deep that is."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from wa_relay.server.unix_socket import LONGEST, PathTooLong, address


@pytest.mark.parametrize("depth", [0, 20], ids=["short", "deep"])
def test_a_socket_is_bound_and_reached_where_its_path_says(tmp_path: Path, depth: int) -> None:
    folder = tmp_path.joinpath(*["carpeta"] * depth)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "relay.db.sock"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        with address(path) as reachable:
            server.bind(reachable)
        server.listen()
        assert path.is_socket()
        with address(path) as reachable:
            client.connect(reachable)
        client.sendall(b"hola")
        with server.accept()[0] as accepted:
            assert accepted.recv(4) == b"hola"


def test_the_folder_is_closed_again(tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*["carpeta"] * 20)
    folder.mkdir(parents=True)
    before = os.listdir("/proc/self/fd")
    with address(folder / "relay.db.sock"):
        pass
    assert os.listdir("/proc/self/fd") == before


def test_a_name_that_fits_nowhere_is_named(tmp_path: Path) -> None:
    with pytest.raises(PathTooLong, match="too long"), address(tmp_path / ("x" * LONGEST + ".sock")):
        pass
