"""Luis's picture: a box with a green light on a table, as a PNG that a browser can show."""

from __future__ import annotations

import struct
import zlib

WIDTH, HEIGHT = 240, 160
WALL, TABLE = bytes((226, 221, 210)), bytes((150, 111, 76))
BOX, EDGE = bytes((52, 58, 64)), bytes((33, 37, 41))
LIGHT = bytes((64, 222, 108))


def draw() -> bytes:
    """The picture's bytes (PNG, 8-bit RGB; www.w3.org/TR/png)."""
    rows = b"".join(b"\0" + b"".join(_pixel(x, y) for x in range(WIDTH)) for y in range(HEIGHT))
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _pixel(x: int, y: int) -> bytes:
    if (x - 172) ** 2 + (y - 98) ** 2 <= 25:
        return LIGHT
    if 52 <= x < 192 and 76 <= y < 120:
        return BOX if 54 <= x < 190 and 78 <= y < 118 else EDGE
    antenna = y < 76 and (64 <= x < 68 or 176 <= x < 180) and y >= 30
    return EDGE if antenna else WALL if y < 112 else TABLE


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
