# SPDX-License-Identifier: Apache-2.0
"""The core and the twin agree: on bytes, on levels, on every context, and on what they refuse."""

from __future__ import annotations

import itertools
import json
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from samples import draws, sample_levels, sample_update
from strategies import PROFILES, examples

import fl_deepcabac as dc
from fl_deepcabac.entropy import LevelState, decode_levels, encode_levels
from reference import packet as twin
from reference import worked_example
from reference.errors import Rejected
from reference.mixing import SQUASH, STRETCH
from reference.stream import StreamState, Tensor

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "bitstream.md"
SHAPES = [
    (1,),
    (7,),
    (65,),
    (200,),
    (5, 1),
    (1, 9),
    (1, 1),
    (4, 4),
    (3, 70),
    (70, 3),
    (40, 2),
    (2, 5, 1),
    (6, 2, 3, 3),
    (0,),
    (0, 3),
]
STEPS = [0x3C000000, 0x3C700000, 0x3C012345, 0x3F800000, 27 << 23, 227 << 23, 0x3BFFFFFF]
VERDICTS = {
    "truncated": dc.TruncatedPacketError,
    "corrupt": dc.CorruptPacketError,
    "unsupported": dc.UnsupportedVersionError,
    "limit": dc.LimitExceededError,
    "schema mismatch": dc.SchemaMismatchError,
    "settings": dc.ConfigError,
    "state mismatch": dc.StateMismatchError,
}


@dataclass
class Stream:
    """What a test codes: one list of (step, levels) a packet."""

    profile: str
    schema: list[Tensor]
    packets: list[list[tuple[int, list[int]]]]


@st.composite
def level_streams(draw: st.DrawFn) -> Stream:
    shapes = draw(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3))
    schema = [Tensor(f"t{i}", "float32", shape) for i, shape in enumerate(shapes)]
    packets = []
    for _ in range(draw(st.integers(1, 4))):
        tensors = []
        for tensor in schema:
            per_cent = draw(st.sampled_from([0, 2, 30, 100]))
            largest = draw(st.sampled_from([1, 3, 40, 1000, 1 << 24]))
            seed = draw(st.integers(0, 1 << 32))
            levels = sample_levels(seed, tensor.n_elements, per_cent=per_cent, largest=largest)
            tensors.append((draw(st.sampled_from(STEPS)), levels))
        packets.append(tensors)
    return Stream(draw(st.sampled_from(PROFILES)), schema, packets)


def schema_of(tensors: list[Tensor]) -> dc.Schema:
    return dc.Schema.from_json(json.dumps([[t.name, t.dtype, list(t.shape)] for t in tensors]))


@examples(80)
@given(level_streams())
def test_core_and_twin_write_equal_payloads_and_states(stream: Stream) -> None:
    ours = theirs = LevelState.fresh(schema_of(stream.schema), stream.profile)
    slow = slow_reader = StreamState(stream.schema, PROFILES.index(stream.profile))
    for tensors in stream.packets:
        steps, levels = [step for step, _ in tensors], [levels for _, levels in tensors]
        packet, slow = twin.encode(slow, b"", steps, levels)
        flat = np.array(list(itertools.chain(*levels)), np.int32)
        coded = encode_levels(ours, flat, np.array(steps, np.uint32).view(np.float32))
        decoded = decode_levels(theirs, coded.payload)
        read = twin.decode(slow_reader, packet)

        assert coded.payload == packet[32:]
        assert decoded.levels.tolist() == flat.tolist()
        assert read.levels == levels
        ours, theirs, slow_reader = coded.state, decoded.state, read.state
    assert ours.to_bytes() == theirs.to_bytes() == slow.levels.to_bytes()
    assert slow_reader.levels.to_bytes() == slow.levels.to_bytes()


@pytest.mark.parametrize("profile", PROFILES)
def test_long_stream_saturates_counts_alike(profile: str) -> None:
    # Enough bins in few contexts that every learning rate and every count reaches its last value.
    schema = [Tensor("t", "float32", (4, 300))]
    state = LevelState.fresh(schema_of(schema), profile)
    slow = StreamState(schema, PROFILES.index(profile))
    for number in range(5):
        levels = sample_levels(number, 1200, per_cent=90, largest=2)
        packet, slow = twin.encode(slow, b"", [STEPS[0]], [levels])
        coded = encode_levels(
            state, np.array(levels, np.int32), np.array([STEPS[0]], np.uint32).view(np.float32)
        )
        assert coded.payload == packet[32:]
        state = coded.state
    assert state.to_bytes() == slow.levels.to_bytes()


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("step", [0.25, 2.0**-9])
def test_twin_decodes_whole_packets_of_the_codec(profile: str, step: float) -> None:
    schema = dc.Schema.from_arrays(sample_update(0))
    encoder = dc.UpdateEncoder(schema, dc.CodecConfig(step=step, profile=profile))
    tensors = [Tensor(t.name, t.dtype, t.shape) for t in schema.tensors]
    slow = StreamState(tensors, PROFILES.index(profile))
    assert slow.digest == encoder.state_digest
    for number in range(3):
        encoded = encoder.encode(sample_update(number))
        read = twin.decode(slow, encoded.packet)
        exact = twin.exact_parts(tensors, read.exact)
        level_tensors = [tensor for tensor in tensors if not tensor.is_exact]
        coded = zip(level_tensors, read.steps, read.levels, strict=True)
        values = {t.name: twin.values(levels, bits, t.dtype) for t, bits, levels in coded}
        assert {k: v.tobytes() for k, v in encoded.decoded.items()} == exact | values
        slow = read.state
        assert slow.digest == encoder.state_digest
    saved, slow_saved = encoder.state_bytes(), slow.to_bytes()
    assert saved[:5] + saved[13:37] == slow_saved[:5] + slow_saved[13:37]
    restored = zstandard.ZstdDecompressor().decompress(saved[41:])
    assert restored == slow.levels.to_bytes()
    encoder.load_state(slow_saved)
    assert encoder.state_digest == slow.digest


@pytest.mark.parametrize("profile", PROFILES)
def test_codec_decodes_whole_packets_of_the_twin(profile: str) -> None:
    tensors = [Tensor("a", "float16", (3, 4)), Tensor("b", "int16", (2,)), Tensor("c", "bool", ())]
    decoder = dc.UpdateDecoder(schema_of(tensors), dc.CodecConfig(profile=profile))
    slow = StreamState(tensors, PROFILES.index(profile))
    for number, is_squeezed in enumerate((False, True)):
        # A step of 2^12 drives float16 into saturation (spec 8).
        levels = sample_levels(number, 12, per_cent=80, largest=40)
        exact = b"\x01\x02\xff\xff\x01"
        packet, slow = twin.encode(slow, exact, [139 << 23], [levels], zstd=is_squeezed)
        update = decoder.decode(packet)
        assert update["a"].tobytes() == twin.values(levels, 139 << 23, "float16")
        assert np.abs(update["a"]).max() == np.float16(65504)
        assert update["b"].tolist() == [513, -1]
        assert update["c"] == np.True_
    assert decoder.state_digest == slow.digest


def judged_by_twin(state: StreamState, packet: bytes) -> twin.Decoded | str:
    try:
        return twin.decode(state, packet)
    except Rejected as rejection:
        return rejection.verdict


@examples(200)
@given(
    profile=st.sampled_from(PROFILES),
    n_warm=st.integers(0, 2),
    area=st.sampled_from([12, 32, 36, 36, 36]),  # header fields, exact section, payload
    seed=st.integers(0, 1 << 32),
    n_new=st.integers(0, 40),
    n_removed=st.integers(0, 40),
)
def test_core_and_twin_judge_damage_alike(
    profile: str, n_warm: int, area: int, seed: int, n_new: int, n_removed: int
) -> None:
    # Any splice of a packet, with the length and the checksum put right again.
    tensors = [
        Tensor("a", "float32", (5, 7)),
        Tensor("b", "uint8", (3,)),
        Tensor("c", "float32", (3,)),
    ]
    schema = schema_of(tensors)
    slow = StreamState(tensors, PROFILES.index(profile))
    state = dc.StreamState.fresh(schema, profile)
    for number in range(n_warm + 1):
        levels = [
            sample_levels(number + i, n, per_cent=60, largest=99) for i, n in enumerate((35, 3))
        ]
        before, before_state = slow, state
        packet, slow = twin.encode(slow, b"xyz", STEPS[1:3], levels)
        state = dc.decode_update(packet, schema=schema, state=state).state
    source = draws(seed)
    begin = area + next(source) % max(1, len(packet) - area)
    replacement = bytes(next(source) & 0xFF for _ in range(n_new))
    spliced = packet[:begin] + replacement + packet[begin + n_removed :]
    spliced = spliced.ljust(32, b"\0")
    damaged = twin.with_checksum(spliced[:4] + struct.pack("<I", len(spliced)) + spliced[8:])
    expected = judged_by_twin(before, damaged)
    if isinstance(expected, str):
        with pytest.raises(VERDICTS[expected]) as caught:
            dc.decode_update(damaged, schema=schema, state=before_state)
        assert caught.type is VERDICTS[expected]
    else:
        decoded = dc.decode_update(damaged, schema=schema, state=before_state)
        assert decoded.state.levels.to_bytes() == expected.state.levels.to_bytes()
        assert decoded.update["b"].tobytes() == expected.exact


def test_worked_example_stands_in_the_document() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert worked_example.section_of(document) == worked_example.render()


def test_worked_example_is_what_the_codec_writes() -> None:
    update = {"w": np.array([1.0, 0.0, -0.5], np.float32)}
    packet = dc.compress(update, dc.CodecConfig(step=0.5, quantizer="uniform"))
    lines = [packet[:16], packet[16:32], packet[32:]]
    example = "\n".join(f"    {line.hex(' ')}" for line in lines)
    assert example in worked_example.render()


def test_mixing_tables_are_monotonic_and_invert_each_other() -> None:
    assert sorted(STRETCH) == STRETCH
    assert [SQUASH[x] for x in range(-2047, 2048)] == sorted(SQUASH.values())
    # Where a cell of 16 probabilities spans less than one unit of log odds, both agree to a cell.
    assert all(abs((SQUASH[STRETCH[c]] >> 4) - c) <= 8 for c in range(16, 4080))
