# SPDX-License-Identifier: Apache-2.0
"""Golden packets decode to what they always did, and golden levels encode to the same payloads."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from reference import packet as twin
from reference.stream import StreamState, Tensor

import fl_deepcabac as dc
from fl_deepcabac.entropy import decode_levels, encode_levels
from golden.goldens import NAMES, read_golden

HERE = Path(__file__).resolve().parent
# Plain Python takes seconds to write an update of several codewords, which it also reads above.
WRITTEN_BY_TWIN = [
    pytest.param(name, marks=pytest.mark.slow) if "chunks" in name else name for name in NAMES
]


def name_bytes(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def test_goldens_cover_the_current_version_within_their_budget() -> None:
    assert {name.split("/")[0] for name in NAMES} == {
        f"v{version}" for version in range(1, dc.FORMAT_VERSION + 1)
    }
    assert sum(path.stat().st_size for path in HERE.glob("v1/*/*")) < 250_000


@pytest.mark.parametrize("name", NAMES)
def test_golden_packets_decode_to_what_they_always_did(name: str) -> None:
    stream = read_golden(name)
    decoder = dc.UpdateDecoder(stream.schema, stream.config)
    for golden in stream.packets:
        update = decoder.decode(golden.packet)
        found = {tensor: name_bytes(array.tobytes()) for tensor, array in update.items()}
        assert found == golden.expected["decoded"]
        assert decoder.state_digest.hex() == golden.expected["state_digest"]


@pytest.mark.parametrize("name", NAMES)
def test_golden_packets_hold_the_expected_levels_and_steps(name: str) -> None:
    stream = read_golden(name)
    state = dc.StreamState.fresh(stream.schema, stream.config.profile)
    for golden in stream.packets:
        n_payload = dc.inspect_packet(golden.packet).payload_bytes
        payload = golden.packet[len(golden.packet) - n_payload :]
        coded = decode_levels(state.levels, payload, wants_levels=True)
        levels = list(itertools.chain(*golden.levels(stream.schema)))
        steps = np.array(golden.expected["step_bits"], np.uint32)
        assert coded.levels.tolist() == levels
        is_coded = coded.steps != 0
        assert (coded.steps.view(np.uint32)[is_coded] == steps[is_coded]).all()

        # The way back: levels and steps leave an encoder no choice (spec 5 to 7), but for tensors
        # of zeros, which "rdoq" may code block by block, and for offsets.
        if stream.config.quantizer == "uniform":
            steps[steps == 0] = 0x3F800000
            again = encode_levels(state.levels, np.array(levels, np.int32), steps.view(np.float32))
            assert again.payload == payload
            assert again.state.to_bytes() == coded.state.to_bytes()
        state = state.after(golden.packet, coded.state)
        assert name_bytes(state.levels.to_bytes()) == golden.expected["level_state"]


@pytest.mark.parametrize("name", WRITTEN_BY_TWIN)
def test_twin_writes_the_golden_payloads(name: str) -> None:
    stream = read_golden(name)
    tensors = [Tensor(spec.name, spec.dtype, spec.shape) for spec in stream.schema.tensors]
    before = StreamState(tensors, int(stream.config.profile == "max"))
    for golden in stream.packets:
        read = twin.decode(before, golden.packet)
        offsets = [tuple(four) for four in golden.expected["offsets"]]
        again, _ = twin.encode(
            before,
            read.exact,
            golden.expected["step_bits"],
            golden.levels(stream.schema),
            offsets=offsets,
            is_dependent=golden.expected["dependent"],
        )
        n_payload = dc.inspect_packet(golden.packet).payload_bytes
        assert again[len(again) - n_payload :] == golden.packet[len(golden.packet) - n_payload :]
        before = read.state


def test_goldens_reach_what_few_streams_reach() -> None:
    streams = [read_golden(name) for name in NAMES]
    packets = [packet for stream in streams for packet in stream.packets]
    assert {packet.expected["dependent"] for packet in packets} == {0, 1}
    assert any(any(four) for packet in packets for four in packet.expected["offsets"])
    n_levels = [sum(spec.n_elements for spec in s.schema.level_tensors) for s in streams]
    assert max(n_levels) >= 1 << 19


@pytest.mark.parametrize("name", NAMES)
def test_golden_states_load_and_carry_the_stream_on(name: str) -> None:
    stream = read_golden(name)
    for number, golden in enumerate(stream.packets):
        decoder = stream.decoder_before(number)
        decoder.decode(golden.packet)
        restored = dc.StreamState.from_bytes(
            golden.state_after, stream.schema, stream.config.profile
        )
        assert restored.digest == decoder.state_digest
        assert restored.sequence_number == number + 1
        assert name_bytes(restored.levels.to_bytes()) == golden.expected["level_state"]


def test_golden_writer_refuses_to_overwrite() -> None:
    before = {path: path.read_bytes() for path in HERE.glob("v1/*/*")}
    script = [sys.executable, str(HERE / "make_golden.py"), "v1"]
    run = subprocess.run(script, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "never rewritten" in run.stderr
    assert {path: path.read_bytes() for path in HERE.glob("v1/*/*")} == before
