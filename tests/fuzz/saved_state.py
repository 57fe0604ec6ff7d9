# SPDX-License-Identifier: Apache-2.0
"""Saved states (spec 10): what loads saves to the same content, and both ends go on from it.

Input: a byte, 16 times how the rest is meant (`HOW`) plus the number of a place in a stream.
"""

from __future__ import annotations

import struct
import zlib

import zstandard
from samples import assert_same

from fuzz.inputs import Draws, edit_bytes
from fuzz.streams import REFUSALS, Place, check_goes_on, places

# The saved state itself, without and with its checksum put right; edits to that of the place,
# damaged and repaired; edits to the level state within its frame.
HOW = ("as it is", "repaired", "edited", "edited and repaired", "edited within")
LENGTH_OFFSET = 5
HEADER_BYTES, CRC_OFFSET = 41, 37
MAX_FRAME_BYTES = 1 << 24


def run(data: bytes) -> None:
    draws = Draws(data)
    choice = draws.number(1)
    how = HOW[(choice >> 4) % len(HOW)]
    place = places()[(choice & 15) % len(places())]
    own = place.state.to_bytes()
    saved = draws.rest() if how in {"as it is", "repaired"} else own
    if how in {"edited", "edited and repaired"}:
        saved = edit_bytes(own, draws)
    elif how == "edited within":
        saved = own[:HEADER_BYTES] + _edit_frame(own[HEADER_BYTES:], draws)
    if how not in {"as it is", "edited"}:
        saved = repaired(saved)
    check(place, saved, is_damaged=how == "edited" and saved != own)


def repaired(saved: bytes) -> bytes:
    """Return a saved state with the length and the checksum it should have."""
    padded = saved.ljust(HEADER_BYTES, b"\0")
    length = struct.pack("<Q", len(padded))
    head = padded[:LENGTH_OFFSET] + length + padded[LENGTH_OFFSET + 8 : CRC_OFFSET]
    body = padded[HEADER_BYTES:]
    return head + struct.pack("<I", zlib.crc32(head + bytes(4) + body)) + body


def _edit_frame(frame: bytes, draws: Draws) -> bytes:
    level_state = zstandard.ZstdDecompressor().decompress(frame)
    return zstandard.ZstdCompressor(level=1).compress(edit_bytes(level_state, draws))


def check(place: Place, saved: bytes, *, is_damaged: bool) -> None:
    """Load a state, and demand all that is promised."""
    decoder = place.decoder()
    try:
        decoder.load_state(saved)
    except REFUSALS:
        assert decoder.state_digest == place.state.digest
        assert_same(decoder.decode(place.packet), place.meant)
        return
    assert not is_damaged, "a damaged state is accepted"
    again = decoder.state_bytes()
    assert _content_of(again) == _content_of(saved)
    check_goes_on(place, again)


def _content_of(saved: bytes) -> tuple[object, ...]:
    """Return what a state says, however it is compressed."""
    magic, version, profile, length, number, digest, schema, _ = struct.unpack_from(
        "<3sBBQQ8s8sI", saved
    )
    assert length == len(saved)
    frame = saved[HEADER_BYTES:]
    body = zstandard.ZstdDecompressor().decompress(frame, max_output_size=MAX_FRAME_BYTES)
    return magic, version, profile, number, digest, schema, body
