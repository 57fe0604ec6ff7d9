# SPDX-License-Identifier: Apache-2.0
"""Damaged bytes raise one of our errors, or mean what they meant; the decoder is as it was."""

from __future__ import annotations

import contextlib
import struct
import zlib

import pytest
from golden.goldens import NAMES, read_golden
from hypothesis import given
from hypothesis import strategies as st
from samples import draws
from strategies import PROFILES, examples

import fl_deepcabac as dc
from fl_deepcabac.entropy import LevelState, decode_levels

# What a decoder may raise over a packet whose checksum is right.
OURS = (dc.DecodeError, dc.SchemaMismatchError, dc.ConfigError)
# Which flips of the golden packets are tried with the checksum put right: all of the smallest
# streams, and every seventh bit of the others, so that each bit position of a byte takes its turn.
STRIDES = {"v1/exact_only": 1, "v1/extreme_levels": 3}


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit >> 3] ^= 1 << (bit & 7)
    return bytes(changed)


def with_checksum(packet: bytes) -> bytes:
    crc32 = zlib.crc32(packet[:8] + bytes(4) + packet[12:])
    return packet[:8] + struct.pack("<I", crc32) + packet[12:]


@pytest.mark.parametrize("name", NAMES)
def test_every_flipped_bit_is_noticed(name: str) -> None:
    stream = read_golden(name)
    for number, golden in enumerate(stream.packets):
        decoder = stream.decoder_before(number)
        digest = decoder.state_digest
        for bit in range(8 * len(golden.packet)):
            with pytest.raises(dc.DecodeError):
                decoder.decode(flipped(golden.packet, bit))
        assert decoder.state_digest == digest
        decoder.decode(golden.packet)


@pytest.mark.parametrize("name", NAMES)
def test_flipped_bit_under_a_right_checksum_changes_no_value(name: str) -> None:
    stream = read_golden(name)
    number = len(stream.packets) - 1
    golden = stream.packets[number]
    decoder = stream.decoder_before(number)
    state, digest = decoder.state_bytes(), decoder.state_digest
    meant = stream.decoder_before(number).decode(golden.packet)
    n_raised = 0
    for bit in range(8 * 12, 8 * len(golden.packet), STRIDES.get(name, 7)):
        try:
            found = decoder.decode(with_checksum(flipped(golden.packet, bit)))
        except OURS:
            n_raised += 1
            assert decoder.state_digest == digest
        else:
            assert {k: v.tobytes() for k, v in found.items()} == {
                k: v.tobytes() for k, v in meant.items()
            }
            decoder.load_state(state)
    assert n_raised > 0
    assert decoder.state_bytes() == state
    decoder.decode(golden.packet)


@pytest.mark.parametrize("name", ["v1/exact_only", "v1/moving_steps_fast", "v1/every_dtype_max"])
def test_every_flipped_bit_of_a_saved_state_is_noticed(name: str) -> None:
    stream = read_golden(name)
    decoder = stream.decoder_before(1)
    digest = decoder.state_digest
    saved = stream.packets[0].state_after
    for bit in range(0, 8 * len(saved), 1 if len(saved) < 4000 else 5):
        with pytest.raises((dc.DecodeError, dc.SchemaMismatchError, dc.ConfigError)):
            decoder.load_state(flipped(saved, bit))
    assert decoder.state_digest == digest


@examples(150)
@given(
    profile=st.sampled_from(PROFILES),
    n_bytes=st.integers(0, 300),
    kind=st.sampled_from(["random", "zeros", "ones", "sparse"]),
    seed=st.integers(0, 1 << 32),
)
def test_random_payload_decodes_or_raises_ours(
    profile: str, n_bytes: int, kind: str, seed: int
) -> None:
    schema = dc.Schema.from_json('[["a","float32",[9,30]],["b","float16",[70]]]')
    state = LevelState.fresh(schema, profile)
    before = state.to_bytes()
    source = draws(seed)
    patterns = {
        "random": (next(source) & 0xFF for _ in range(n_bytes)),
        "zeros": (0 for _ in range(n_bytes)),
        "ones": (0xFF for _ in range(n_bytes)),
        "sparse": (next(source) & next(source) & next(source) & 0xFF for _ in range(n_bytes)),
    }
    payload = bytes(patterns[kind])
    with contextlib.suppress(dc.TruncatedPacketError, dc.CorruptPacketError):
        coded = decode_levels(state, payload, wants_levels=True)
        assert abs(coded.levels).max() <= 1 << 24
    assert state.to_bytes() == before


@examples(200)
@given(st.binary(max_size=200))
def test_random_packet_raises_decode_error(packet: bytes) -> None:
    schema = read_golden("v1/exact_only").schema
    with pytest.raises(dc.DecodeError):
        dc.decompress(packet, schema, dc.CodecConfig())
    with pytest.raises(dc.DecodeError):
        dc.decompress(b"FDC\x01" + packet, schema, dc.CodecConfig())
    with pytest.raises(dc.DecodeError):
        dc.UpdateDecoder(schema, dc.CodecConfig()).load_state(b"FDS\x01" + packet)
