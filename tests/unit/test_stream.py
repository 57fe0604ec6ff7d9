# SPDX-License-Identifier: Apache-2.0
"""The state of a stream: digests, saved bytes, and what a reader of them refuses (spec 10)."""

from __future__ import annotations

import hashlib
import struct
import zlib

import numpy as np
import pytest
import zstandard
from strategies import PROFILES

import fl_deepcabac as dc

UPDATE = {"w": np.arange(-6, 6, dtype=np.float32).reshape(3, 4), "b": np.ones(3, np.float32)}
SCHEMA = dc.Schema.from_arrays(UPDATE)


def warm_state(profile: str) -> dc.StreamState:
    config = dc.CodecConfig(step=0.7, profile=profile)
    fresh = dc.StreamState.fresh(SCHEMA, profile)
    return dc.encode_update(UPDATE, schema=SCHEMA, config=config, state=fresh).state


def rebuilt(saved: bytes, *, content: bytes | None = None, **fields: bytes) -> bytes:
    """Return a saved state with other fields, the length and the checksum right."""
    places = {"magic": (0, 3), "version": (3, 4), "profile": (4, 5), "schema": (29, 37)}
    head = bytearray(saved[:37])
    for name, value in fields.items():
        begin, end = places[name]
        head[begin:end] = value
    body = saved[41:] if content is None else zstandard.compress(content)
    head[5:13] = struct.pack("<Q", 41 + len(body))
    crc32 = zlib.crc32(bytes(head) + bytes(4) + body)
    return bytes(head) + struct.pack("<I", crc32) + body


def content_of(saved: bytes) -> bytearray:
    return bytearray(zstandard.decompress(saved[41:]))


@pytest.mark.parametrize("profile", PROFILES)
def test_state_digest_is_the_chain_of_the_document(profile: str) -> None:
    def name(data: bytes) -> bytes:
        return hashlib.blake2b(data, digest_size=8).digest()

    encoder = dc.UpdateEncoder(SCHEMA, dc.CodecConfig(step=0.7, profile=profile))
    code = bytes([PROFILES.index(profile)])
    expected = name(b"fl_deepcabac fresh" + code + SCHEMA.digest)
    assert encoder.state_digest == expected
    for _ in range(3):
        expected = name(expected + encoder.encode(UPDATE).packet)
        assert encoder.state_digest == expected


def test_fresh_digest_depends_on_schema_and_profile() -> None:
    other = dc.Schema.from_arrays({"w": UPDATE["w"]})
    digests = {dc.StreamState.fresh(s, p).digest for s in (SCHEMA, other) for p in PROFILES}
    assert len(digests) == 4


@pytest.mark.parametrize("profile", PROFILES)
def test_saved_state_round_trips(profile: str) -> None:
    state = warm_state(profile)
    again = dc.StreamState.from_bytes(state.to_bytes(), SCHEMA, profile)
    assert again.to_bytes() == state.to_bytes()
    assert (again.digest, again.sequence_number, again.is_fresh) == (state.digest, 1, False)
    assert dc.StreamState.fresh(SCHEMA, profile).is_fresh


def test_coding_leaves_the_state_it_starts_from() -> None:
    state = warm_state("max")
    before = state.to_bytes()
    config = dc.CodecConfig(step=0.01, profile="max")
    encoded = dc.encode_update(UPDATE, schema=SCHEMA, config=config, state=state)
    dc.decode_update(encoded.packet, schema=SCHEMA, state=state)
    assert state.to_bytes() == before
    assert encoded.state.to_bytes() != before


@pytest.mark.parametrize(
    ("fields", "error", "match"),
    [
        ({"magic": b"FDC"}, dc.CorruptPacketError, "saved state at byte 0"),
        ({"version": b"\2"}, dc.UnsupportedVersionError, "found 2: upgrade"),
        ({"version": b"\0"}, dc.CorruptPacketError, "saved state at byte 3"),
        ({"schema": bytes(8)}, dc.SchemaMismatchError, "expected schema .* found 0{16}"),
        ({"profile": b"\1"}, dc.ConfigError, "'profile': expected max"),
    ],
)
def test_saved_state_of_another_kind_is_refused(
    fields: dict[str, bytes], error: type[Exception], match: str
) -> None:
    saved = rebuilt(warm_state("fast").to_bytes(), **fields)
    with pytest.raises(error, match=match):
        dc.StreamState.from_bytes(saved, SCHEMA, "fast")


def test_saved_state_with_surplus_bytes_is_refused() -> None:
    with pytest.raises(dc.CorruptPacketError, match="bytes, those given"):
        dc.StreamState.from_bytes(warm_state("fast").to_bytes() + b"\0", SCHEMA, "fast")


# Where things lie in the level state (spec 10.2): 14 bytes of header, then the contexts; at the end
# 15 signed codes, 15 magnitude codes, and for both tensors seven offsets and a step.
CONTEXTS = 14
SIGNED_CODES = -15
OFFSETS = SIGNED_CODES - 15 - 14
STEPS = OFFSETS - 8


@pytest.mark.parametrize(
    ("offset", "value", "match"),
    [
        (0, 2, "version"),
        (1, 1, "profile"),
        (2, 9, "tensors"),
        (6, 9, "tensors"),
        (CONTEXTS + 3, 0xFF, "within their ranges"),  # an estimate too large
        (CONTEXTS + 7, 0, "within their ranges"),  # the slow one, too small
        (STEPS + 3, 0x7F, "within their ranges"),  # a step beyond 2^100
        (OFFSETS, 0x80, "within their ranges"),  # the offset -128
        (SIGNED_CODES, 0x80, "within their ranges"),  # the signed code -128
    ],
)
def test_level_state_with_impossible_values_is_refused(offset: int, value: int, match: str) -> None:
    saved = warm_state("fast").to_bytes()
    content = content_of(saved)
    assert rebuilt(saved, content=bytes(content))[:37] != b""
    dc.StreamState.from_bytes(rebuilt(saved, content=bytes(content)), SCHEMA, "fast")
    if offset in (CONTEXTS + 3, CONTEXTS + 7):  # nearer to certain than 8 in 2^16
        content[offset - 1] = value
    content[offset] = value
    with pytest.raises(dc.CorruptPacketError, match=match):
        dc.StreamState.from_bytes(rebuilt(saved, content=bytes(content)), SCHEMA, "fast")


def test_level_state_with_an_impossible_mixer_weight_is_refused() -> None:
    saved = warm_state("max").to_bytes()
    content = content_of(saved)
    # The last weight of the last sign mixer: before its count, the steps and the codes.
    place = len(content) + STEPS - 2 - 4
    content[place : place + 4] = struct.pack("<i", (1 << 19) + 1)
    with pytest.raises(dc.CorruptPacketError, match="within their ranges"):
        dc.StreamState.from_bytes(rebuilt(saved, content=bytes(content)), SCHEMA, "max")
    content[place : place + 4] = struct.pack("<i", -(1 << 19))
    dc.StreamState.from_bytes(rebuilt(saved, content=bytes(content)), SCHEMA, "max")


def test_level_state_cut_or_continued_is_refused() -> None:
    saved = warm_state("fast").to_bytes()
    content = bytes(content_of(saved))
    for n_bytes in (0, 1, 13, 14, 300, len(content) - 1):
        with pytest.raises(dc.TruncatedPacketError):
            dc.StreamState.from_bytes(rebuilt(saved, content=content[:n_bytes]), SCHEMA, "fast")
    with pytest.raises(dc.LimitExceededError):
        dc.StreamState.from_bytes(rebuilt(saved, content=content + b"\0"), SCHEMA, "fast")


@pytest.mark.parametrize("saved", [None, "FDS", bytearray(50)])
def test_saved_state_must_be_bytes(saved: object) -> None:
    with pytest.raises(TypeError, match="saved state: expected bytes, found"):
        dc.UpdateDecoder(SCHEMA, dc.CodecConfig()).load_state(saved)
