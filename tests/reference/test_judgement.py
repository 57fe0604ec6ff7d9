# SPDX-License-Identifier: Apache-2.0
"""The core and the twin refuse the same packets, for the same reasons."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import draws, sample_levels
from strategies import PROFILES, examples

import fl_deepcabac as dc
from reference import packet as twin
from reference.comparison import STEPS, schema_of
from reference.errors import Rejected
from reference.stream import StreamState, Tensor

VERDICTS = {
    "truncated": dc.TruncatedPacketError,
    "corrupt": dc.CorruptPacketError,
    "unsupported": dc.UnsupportedVersionError,
    "limit": dc.LimitExceededError,
    "schema mismatch": dc.SchemaMismatchError,
    "settings": dc.ConfigError,
    "state mismatch": dc.StateMismatchError,
}


def judged_by_twin(state: StreamState, packet: bytes) -> twin.Decoded | str:
    try:
        return twin.decode(state, packet)
    except Rejected as rejection:
        return rejection.verdict


@examples(50)
@given(
    profile=st.sampled_from(PROFILES),
    n_warm=st.integers(0, 2),
    area=st.sampled_from([12, 36, 40, 40, 40]),  # header fields, exact section, payload
    is_forged=st.booleans(),
    seed=st.integers(0, 1 << 32),
    n_new=st.integers(0, 40),
    n_removed=st.integers(0, 40),
)
def test_core_and_twin_judge_damage_alike(
    profile: str, n_warm: int, area: int, is_forged: bool, seed: int, n_new: int, n_removed: int
) -> None:
    # Any splice of a packet, with the length and the checksum put right again; and the digest of
    # what it decodes to, where it does, so that other contents are compared as well.
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
        own = [(number, -1, number, 40, -number, 9, -40)] * 2
        packet, slow = twin.encode(
            slow, b"xyz", STEPS[1:3], levels, offsets=own, is_dependent=seed & 1
        )
        state = dc.decode_update(packet, schema=schema, state=state).state
    source = draws(seed)
    begin = area + next(source) % max(1, len(packet) - area)
    replacement = bytes(next(source) & 0xFF for _ in range(n_new))
    spliced = packet[:begin] + replacement + packet[begin + n_removed :]
    spliced = spliced.ljust(36, b"\0")
    damaged = twin.with_checksum(spliced[:4] + struct.pack("<I", len(spliced)) + spliced[8:])
    if is_forged:
        with contextlib.suppress(Rejected):
            damaged = twin.with_content_digest(before, damaged)
    expected = judged_by_twin(before, damaged)
    if isinstance(expected, str):
        with pytest.raises(VERDICTS[expected]) as caught:
            dc.decode_update(damaged, schema=schema, state=before_state)
        assert caught.type is VERDICTS[expected]
    else:
        decoded = dc.decode_update(damaged, schema=schema, state=before_state)
        assert decoded.state.levels.to_bytes() == expected.state.levels.to_bytes()
        assert decoded.update["b"].tobytes() == expected.exact


@pytest.mark.parametrize(
    ("length", "verdict"),
    [
        ("", "truncated"),
        ("00", None),
        ("01", None),
        ("02", None),
        ("03", "truncated"),
        ("80", "truncated"),
        ("ffffffff0f", "truncated"),
        ("8000", "corrupt"),  # not in its shortest form
        ("ffffffff10", "corrupt"),  # 2^32 and more
        ("ffffffffff01", "corrupt"),
    ],
)
def test_core_and_twin_judge_lengths_of_codewords_alike(length: str, verdict: str | None) -> None:
    # One bin in the first codeword, none in the second; or what other lengths make of them.
    tensors = [Tensor("t", "float32", (1 << 19,))]
    state = StreamState(tensors, 0)
    packet, _ = twin.encode(state, b"", [STEPS[0]], [[0] * (1 << 19)])
    longer = packet[:36] + bytes.fromhex(length) + packet[37:]
    damaged = twin.with_checksum(longer[:4] + struct.pack("<I", len(longer)) + longer[8:])
    expected = judged_by_twin(state, damaged)
    ours = dc.StreamState.fresh(schema_of(tensors), "fast")
    if isinstance(expected, str):
        assert verdict is None or expected == verdict
        with pytest.raises(VERDICTS[expected]):
            dc.decode_update(damaged, schema=schema_of(tensors), state=ours)
    else:
        assert damaged == packet
        dc.decode_update(damaged, schema=schema_of(tensors), state=ours)


@pytest.mark.parametrize("offset", [-129, -128, 128, 400])
def test_core_and_twin_refuse_offsets_out_of_range(offset: int) -> None:
    tensors = [Tensor("t", "float32", (3,)), Tensor("u", "float32", (3,))]
    state = StreamState(tensors, 0)
    some = (1, 2, 3, 4, 5, 6, 7)
    for offsets in ([(0, 0, 0, 0, 0, 0, offset), some], [some, (offset, 0, 0, 0, 0, 0, 0)]):
        packet, _ = twin.encode(state, b"", STEPS[:2], [[1, 2, 3]] * 2, offsets=offsets)
        assert judged_by_twin(state, packet) == "corrupt"
        ours = dc.StreamState.fresh(schema_of(tensors), "fast")
        with pytest.raises(dc.CorruptPacketError, match="offset"):
            dc.decode_update(packet, schema=schema_of(tensors), state=ours)
