# SPDX-License-Identifier: Apache-2.0
"""Packets: what is accepted decodes to what it says, what is refused has changed nothing.

Input: a byte, 16 times how the rest is meant (`HOW`) plus the number of a place in a stream.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray
from robustness.crafting import repaired
from samples import assert_same

import fl_deepcabac as dc
from fl_deepcabac.arrays import join_exact
from fl_deepcabac.content_digest import content_digest
from fl_deepcabac.entropy import decode_levels
from fl_deepcabac.packet import parse_packet
from fuzz.inputs import Draws, edit_bytes
from fuzz.streams import REFUSALS, Place, check_goes_on, places

# The packet itself, without and with its checksum put right; edits to the packet of the place,
# damaged, repaired, and repaired with its content digest.
HOW = ("as it is", "repaired", "edited", "edited and repaired", "edited and made true")


def run(data: bytes) -> None:
    draws = Draws(data)
    choice = draws.number(1)
    how = HOW[(choice >> 4) % len(HOW)]
    place = places()[(choice & 15) % len(places())]
    packet = edit_bytes(place.packet, draws) if how.startswith("edited") else draws.rest()
    if how not in {"as it is", "edited"}:
        packet = repaired(packet)
    if how == "edited and made true":
        packet = with_content(packet, place.schema, place.state)
    check(place, packet, is_damaged=how == "edited" and packet != place.packet)


def with_content(packet: bytes, schema: dc.Schema, state: dc.StreamState) -> bytes:
    """Return the packet with the digest of what it decodes to, if it decodes."""
    try:
        parsed = parse_packet(packet, schema)
        values = decode_levels(state.levels, parsed.payload).values
    except REFUSALS:
        return packet
    digest = content_digest(values, parsed.exact).to_bytes(4, "little")
    return repaired(packet[:32] + digest + packet[36:])


def check(place: Place, packet: bytes, *, is_damaged: bool) -> None:
    """Decode a packet, and demand all that is promised."""
    decoder, before = place.decoder(), place.state.digest
    is_sound = _check_header(packet)
    try:
        found = decoder.decode(packet)
    except REFUSALS:
        assert decoder.state_digest == before
        assert_same(decoder.decode(place.packet), place.meant)
        return
    assert is_sound
    assert not is_damaged, "a damaged packet is accepted"
    check_update(found, place.schema)
    digest = packet[32:36]
    if digest == place.packet[32:36]:
        assert_same(found, place.meant)
    if all(spec.dtype != "float16" for spec in place.schema.level_tensors):
        assert int.from_bytes(digest, "little") == digest_of(found, place.schema)
    assert decoder.state_digest != before
    check_goes_on(place, decoder.state_bytes())


def _check_header(packet: bytes) -> bool:
    """Whether the header can be read without a schema; it then agrees with the bytes."""
    try:
        header = dc.inspect_packet(packet)
    except dc.DecodeError:
        return False
    assert header.total_bytes == len(packet)
    assert 36 + header.exact_bytes + header.payload_bytes == len(packet)
    return True


def check_update(update: dict[str, NDArray[np.generic]], schema: dc.Schema) -> None:
    """What was decoded is an update of this schema, with finite values."""
    assert dc.Schema.from_arrays(update) == schema
    for spec in schema.level_tensors:
        assert np.isfinite(update[spec.name]).all()


def digest_of(update: dict[str, NDArray[np.generic]], schema: dc.Schema) -> int:
    """Return the content digest (spec 8.1) by its formula; float16 holds too little for that."""
    levels = [update[spec.name].astype(np.float32).ravel() for spec in schema.level_tensors]
    bits = np.concatenate([np.empty(0, np.float32), *levels]).view(np.uint32).astype(np.uint64)
    odd = 2 * np.arange(bits.size, dtype=np.uint64) + np.uint64(1)
    total = int((bits * odd * np.uint64(0x9E3779B97F4A7C15)).sum(dtype=np.uint64))
    return ((total >> 32) + zlib.crc32(join_exact(update, schema))) % 2**32
