# SPDX-License-Identifier: Apache-2.0
"""How the bytes of a fuzzing engine become choices, and edits to something that is valid.

Random bytes fail at the first checksum. So most inputs say what to change in a valid packet, state
or file, and the target puts lengths and checksums right again. Invariant: every input means
something, equal inputs mean the same, and small changes to an input are small changes to it.
"""

from __future__ import annotations

import json
from typing import Any

__all__ = ["Draws", "edit_bytes", "edit_json"]

MAX_EDITS = 8
# Replaces the value at a place of a JSON text, where Python's own writer would not go.
DEEP = "deep"
DEEP_TEXT = "[" * 20_000 + "]" * 20_000
# What is likely to be wrong at any place of a JSON text; inputs name them by number, so new ones go
# to the end.
VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    1,
    -1,
    2,
    255,
    2**31,
    2**63,
    2**64,
    10**400,
    0.5,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "fast",
    "max",
    "float32",
    "<f4",
    "O",
    "(1",
    "\ud800",
    "00",
    "../x",
    [],
    [[]],
    [1],
    [2**40, 0],
    [0, 10**30],
    [1] * 70,
    [None, None],
    {},
    {"": 1},
    {"float": "0x1p+9999"},
    {"bytes": ["", "00" * 64]},
    {"list": []},
    {"dict": []},
    {"tuple": [1]},
    DEEP,
)


class Draws:
    """Takes numbers and bytes from the front of an input; zeros once it has ended.

    Parameters
    ----------
    data : bytes
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._begin = 0

    def __bool__(self) -> bool:
        """Whether anything is left."""
        return self._begin < len(self._data)

    def number(self, n_bytes: int) -> int:
        """Return an unsigned number."""
        return int.from_bytes(self.take(n_bytes), "little")

    def below(self, n: int) -> int:
        """Return a number below `n`, from one byte or, where that is not enough, two."""
        return self.number(1 if n <= 1 << 8 else 2) % n

    def take(self, n_bytes: int) -> bytes:
        """Return the next bytes, fewer at the end."""
        taken = self._data[self._begin : self._begin + n_bytes]
        self._begin += n_bytes
        return taken

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.take(len(self._data))


def edit_bytes(content: bytes, draws: Draws) -> bytes:
    """Change some bytes: a number of edits, each of a kind, a place (three bytes) and a value.

    Kinds are: put the value, flip its bits, insert it, delete so many bytes, put it eight times,
    cut the end off, put so many of the next bytes of the input, and insert them.
    """
    edited = bytearray(content)
    for _ in range(1 + draws.below(MAX_EDITS)):
        kind, place, value = draws.below(8), draws.number(3), draws.number(1)
        begin = place % (len(edited) + 1)
        if kind == 0:
            edited[begin : begin + 1] = bytes([value])
        elif kind == 1 and begin < len(edited):
            edited[begin] ^= value
        elif kind == 2:
            edited[begin:begin] = bytes([value])
        elif kind == 3:
            del edited[begin : begin + value]
        elif kind == 4:
            edited[begin : begin + 8] = bytes([value]) * 8
        elif kind == 5:
            del edited[begin:]
        else:
            given = draws.take(value % 32)
            edited[begin : begin + (len(given) if kind == 6 else 0)] = given
    return bytes(edited)


def edit_json(text: str, draws: Draws) -> str:
    """Change some values of a JSON text: replace them, by `VALUES` or one another, or remove them.

    A text that is none is returned as it is.
    """
    try:
        root: list[Any] = [json.loads(text)]
    except (ValueError, RecursionError):
        return text
    for _ in range(1 + draws.below(MAX_EDITS)):
        places = _places(root)
        kind, place = draws.below(4), draws.below(len(places))
        holder, key = places[place]
        if kind == 0 and holder is not root:
            del holder[key]
        elif kind == 1:
            other, other_key = places[draws.below(len(places))]
            holder[key] = json.loads(json.dumps(other[other_key]))
        elif kind == 2 and isinstance(holder[key], str):
            text_bytes = edit_bytes(holder[key].encode("utf-8", "surrogatepass"), draws)
            holder[key] = text_bytes.decode("utf-8", "replace")
        else:
            # A copy, because later edits may change it.
            holder[key] = json.loads(json.dumps(VALUES[draws.below(len(VALUES))]))
    return json.dumps(root[0]).replace(f'"{DEEP}"', DEEP_TEXT)


def _places(root: list[Any]) -> list[tuple[Any, Any]]:
    """List holder and key of every value, the whole first."""
    places: list[tuple[Any, Any]] = [(root, 0)]
    for holder, key in places:
        value = holder[key]
        if isinstance(value, dict):
            places += [(value, own) for own in value]
        elif isinstance(value, list):
            places += [(value, own) for own in range(len(value))]
    return places
