"""Damage: what a torn download, a bad disk, a hand edit or ill will does to the bytes of a file."""

from __future__ import annotations

import copy
import json
import random
import struct
from collections.abc import Callable
from typing import Any

_MOST_CHANGES = 8  # of one mutation
_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2.5, 10**13, 10**400, -(10**9), float("nan"), float("inf"), 1e308),
    *("", "word", "0", "\ud800", "../../x", "x" * 5000, [], [None], [[]], {}, {"a": {}}, [0] * 1000),
)
_PIECES = (
    b"",
    b"\0" * 64,
    b"\xff" * 64,
    b"{",
    b"]",
    b'"',
    b"\n",
    b"\xef\xbb\xbf",
    b"version https://git-lfs.github.com/",
)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Return the bytes changed in one to eight places, cut, or as JSON with a value that does not belong there."""
    if rng.random() < 0.5 and (changed := _mutated_json(data, rng)) is not None:
        return changed
    buffer = bytearray(data)
    for _ in range(rng.randint(1, _MOST_CHANGES)):
        rng.choice(_CHANGES)(buffer, rng)
    return bytes(buffer)


def _mutated_json(data: bytes, rng: random.Random) -> bytes | None:
    """Replace, remove or add values of a JSON document; None if it is none."""
    try:
        document = json.loads(data)
    except ValueError:
        return None
    for _ in range(rng.randint(1, 2)):
        places = list(_places(document))
        if not places:
            return json.dumps(rng.choice(_VALUES)).encode()
        owner, key = rng.choice(places)
        if rng.random() < 0.2:
            del owner[key]
        else:
            owner[key] = copy.deepcopy(rng.choice((*_VALUES, rng.choice(places)[0])))
    return json.dumps(document).encode()


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (object or list, key or index) in the document."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    found = [(value, key) for key in keys]
    for key in keys:
        found += _places(value[key])
    return found


def _flip(buffer: bytearray, rng: random.Random) -> None:
    if buffer:
        buffer[rng.randrange(len(buffer))] ^= 1 << rng.randrange(8)


def _overwrite(buffer: bytearray, rng: random.Random) -> None:
    if buffer:
        buffer[rng.randrange(len(buffer))] = rng.randrange(256)


def _number(buffer: bytearray, rng: random.Random) -> None:
    """A number at the edge of what its bytes hold, of either order."""
    packed = struct.pack(rng.choice("<>") + "Q", rng.choice(_NUMBERS))
    size = rng.choice((1, 2, 4, 8))
    at = rng.randrange(len(buffer) + 1)
    buffer[at : at + size] = packed[:size] if rng.random() < 0.5 else packed[-size:]


def _cut(buffer: bytearray, rng: random.Random) -> None:
    del buffer[rng.randrange(len(buffer) + 1) :]


def _remove(buffer: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(buffer) + 1)
    del buffer[at : at + rng.randint(1, 64)]


def _insert(buffer: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(buffer) + 1)
    buffer[at:at] = rng.choice((*_PIECES, rng.randbytes(16)))


def _repeat(buffer: bytearray, rng: random.Random) -> None:
    at, to = rng.randrange(len(buffer) + 1), rng.randrange(len(buffer) + 1)
    buffer[to:to] = buffer[at : at + rng.randint(1, 256)]


def _blank(buffer: bytearray, rng: random.Random) -> None:
    """A block of zeros, as a disk leaves it after a power cut."""
    at = rng.randrange(len(buffer) + 1)
    size = min(len(buffer) - at, rng.choice((16, 512, 4096)))
    buffer[at : at + size] = bytes(size)


_CHANGES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    *(_flip, _overwrite, _overwrite, _number, _number),
    *(_cut, _remove, _insert, _repeat, _blank),
)
