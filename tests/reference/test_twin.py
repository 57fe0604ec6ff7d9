# SPDX-License-Identifier: Apache-2.0
"""The core and the twin agree: on bytes, on levels, on values, on every context."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from samples import sample_levels, sample_update, sample_values
from strategies import PROFILES, examples

import fl_deepcabac as dc
from fl_deepcabac.entropy import LevelState, decode_levels, encode_levels
from reference import packet as twin
from reference.comparison import STEPS, encode_again, schema_of, values_in
from reference.reconstruction import N_OFFSETS, NO_OFFSETS, Offsets, values_of
from reference.stream import StreamState, Tensor

SHAPES = [
    (1,),
    (7,),
    (65,),
    (200,),
    (5, 1),
    (1, 9),
    (1, 1),
    (4, 4),
    (3, 96),
    (70, 3),
    (40, 2),
    (2, 5, 1),
    (6, 2, 3, 3),
    (9, 66),
    (3, 300),
    (0,),
    (0, 3),
]


@dataclass
class Content:
    """What one packet says: a step, levels and offsets for each tensor."""

    steps: list[int]
    levels: list[list[int]]
    offsets: list[Offsets] | None  # None: as they were
    is_dependent: bool


@dataclass
class Stream:
    """What a test codes."""

    profile: str
    schema: list[Tensor]
    packets: list[Content]


@st.composite
def level_streams(draw: st.DrawFn) -> Stream:
    shapes = draw(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3))
    schema = [Tensor(f"t{i}", "float32", shape) for i, shape in enumerate(shapes)]
    one_offset = st.sampled_from([0, 0, 1, -9, 40, 127, -127])
    offsets = st.tuples(*[one_offset] * N_OFFSETS)
    packets = []
    for _ in range(draw(st.integers(1, 4))):
        levels = []
        for tensor in schema:
            per_cent = draw(st.sampled_from([0, 1, 2, 30, 100]))
            largest = draw(st.sampled_from([1, 3, 40, 1000, 1 << 24]))
            seed = draw(st.integers(0, 1 << 32))
            levels.append(
                sample_levels(seed, tensor.n_elements, per_cent=per_cent, largest=largest)
            )
        n = len(schema)
        steps = draw(st.lists(st.sampled_from(STEPS), min_size=n, max_size=n))
        own = draw(st.none() | st.lists(offsets, min_size=n, max_size=n))
        packets.append(Content(steps, levels, own, draw(st.booleans())))
    return Stream(draw(st.sampled_from(PROFILES)), schema, packets)


def float_steps(steps: list[int]) -> NDArray[np.float32]:
    return np.array(steps, np.uint32).view(np.float32)


@examples(20)
@given(level_streams())
def test_core_and_twin_read_and_write_alike(stream: Stream) -> None:
    ours = LevelState.fresh(schema_of(stream.schema), stream.profile)
    slow = StreamState(stream.schema, PROFILES.index(stream.profile))
    for content in stream.packets:
        packet, written = twin.encode(
            slow,
            b"",
            content.steps,
            content.levels,
            offsets=content.offsets,
            is_dependent=content.is_dependent,
        )
        read = twin.decode(slow, packet)
        decoded = decode_levels(ours, packet[36:], wants_levels=True)
        flat = np.array(list(itertools.chain(*content.levels)), np.int32)
        assert read.update.levels == content.levels
        assert decoded.levels.tolist() == flat.tolist()
        assert decoded.values.tobytes() == b"".join(values_in(read, stream.schema).values())
        if content.offsets is None and not content.is_dependent:
            coded = encode_levels(ours, flat, float_steps(content.steps))
            assert coded.payload == packet[36:]
            assert coded.values.tobytes() == decoded.values.tobytes()
            assert coded.state.to_bytes() == decoded.state.to_bytes()
        ours, slow = decoded.state, written
        saved = slow.levels.to_bytes()
        assert ours.to_bytes() == read.state.levels.to_bytes() == saved
        assert ours.restored(saved).to_bytes() == saved


@pytest.mark.parametrize("profile", PROFILES)
def test_long_stream_saturates_counts_alike(profile: str) -> None:
    # Enough bins in few contexts that every learning rate and every count reaches its last value.
    schema = [Tensor("t", "float32", (4, 300))]
    state = LevelState.fresh(schema_of(schema), profile)
    slow = StreamState(schema, PROFILES.index(profile))
    for number in range(5):
        levels = sample_levels(number, 1200, per_cent=90, largest=2)
        packet, slow = twin.encode(slow, b"", [STEPS[0]], [levels])
        coded = encode_levels(state, np.array(levels, np.int32), float_steps([STEPS[0]]))
        assert coded.payload == packet[36:]
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
        values = values_in(read, tensors)
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
        fixed = [256 * level for level in levels]
        assert update["a"].tobytes() == values_of(fixed, 139 << 23, "float16")
        assert np.abs(update["a"]).max() == np.float16(65504)
        assert update["b"].tolist() == [513, -1]
        assert update["c"] == np.True_
    assert decoder.state_digest == slow.digest


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("trellis", [False, True])
@pytest.mark.parametrize("columns", [1, 3, 48, 64, 65, 95, 96, 97, 130])
def test_searched_packets_hold_what_the_twin_writes(
    profile: str, trellis: bool, columns: int
) -> None:
    # An encoder's search leaves levels, offsets and, where it tries levels out, traces in its walk.
    tensors = [
        Tensor("m", "float32", (700 // columns, columns)),
        Tensor("v", "float32", (columns,)),
    ]
    config = dc.CodecConfig(step=0.5, profile=profile, trellis=trellis, rd_lambda=0.002)
    encoder = dc.UpdateEncoder(schema_of(tensors), config)
    slow = StreamState(tensors, PROFILES.index(profile))
    found = set()
    for number in range(3):
        update = {}
        for t in tensors:
            ramp = (np.arange(t.n_elements) * 37 % 101 - 50) / np.float32(64)
            some = sample_values(number, t.shape, "float32", bits=4 + number)
            update[t.name] = some + ramp.reshape(t.shape).astype(np.float32)
        encoded = encoder.encode(update)
        read = twin.decode(slow, encoded.packet)
        assert encode_again(slow, read) == encoded.packet
        assert bool(read.update.is_dependent) == trellis
        found |= set(read.update.offsets)
        decoded = {name: array.tobytes() for name, array in encoded.decoded.items()}
        assert values_in(read, tensors) == decoded
        slow = read.state
    assert encoder.state_digest == slow.digest
    assert found - {NO_OFFSETS}


def sparse_update(tensors: list[Tensor], number: int) -> dict[str, NDArray[np.float32]]:
    """Return values few of which are not zero, at the same positions in every packet or not."""
    update = {}
    for tensor in tensors:
        values = np.zeros(tensor.n_elements, np.float32)
        values[17 :: 4099 + number % 2] = (-1) ** number
        values[5::9973] = 40.25
        update[tensor.name] = values.reshape(tensor.shape)
    return update


@pytest.mark.slow  # by default a golden stream has chunks
@pytest.mark.parametrize(("profile", "trellis"), [("fast", True), ("max", False)])
def test_chunks_are_those_of_the_twin(profile: str, trellis: bool) -> None:
    # The first chunk ends within a row of "b", the second within "c".
    shapes = {"a": (7, 3), "b": (301, 1001), "c": (480_000,), "d": (40, 90)}
    tensors = [Tensor(name, "float32", shape) for name, shape in shapes.items()]
    schema = schema_of(tensors)
    encoder = dc.UpdateEncoder(schema, dc.CodecConfig(step=0.5, profile=profile, trellis=trellis))
    state = dc.StreamState.fresh(schema, profile)
    slow = StreamState(tensors, PROFILES.index(profile))
    for number in range(2):
        encoded = encoder.encode(sparse_update(tensors, number))
        read = twin.decode(slow, encoded.packet)
        assert values_in(read, tensors) == {k: v.tobytes() for k, v in encoded.decoded.items()}
        assert encode_again(slow, read) == encoded.packet
        decoded = dc.decode_update(encoded.packet, schema=schema, state=state, threads=3)
        state, slow = decoded.state, read.state
        assert state.levels.to_bytes() == slow.levels.to_bytes()
    assert encoder.state_digest == slow.digest
