# SPDX-License-Identifier: Apache-2.0
"""The names that programs outside this repository use, exactly as they were promised."""

from __future__ import annotations

import inspect
import subprocess
import sys

import numpy as np
import pytest

import fl_deepcabac as dc

PROMISED = {
    "FORMAT_VERSION",
    "BudgetError",
    "CheckpointError",
    "CodecConfig",
    "ConfigError",
    "CorruptPacketError",
    "DecodeError",
    "DecodedUpdate",
    "DeepCabacError",
    "EncodeError",
    "EncodedUpdate",
    "GivenSteps",
    "ImportanceError",
    "LevelRangeError",
    "LimitExceededError",
    "NonFiniteError",
    "PacketHeader",
    "Schema",
    "SchemaMismatchError",
    "SensitivityError",
    "StateMismatchError",
    "StreamState",
    "TensorReport",
    "TensorSpec",
    "TruncatedPacketError",
    "UnsupportedVersionError",
    "UpdateDecoder",
    "UpdateEncoder",
    "UpdateNormError",
    "UpdateReport",
    "__version__",
    "compress",
    "decode_update",
    "decompress",
    "encode_update",
    "inspect_packet",
}


def test_public_names_are_the_promised_ones() -> None:
    assert set(dc.__all__) == PROMISED
    assert len(dc.__all__) == len(PROMISED)
    for name in PROMISED:
        assert getattr(dc, name) is not None


@pytest.mark.parametrize("name", sorted(PROMISED - {"__version__", "FORMAT_VERSION"}))
def test_public_name_is_documented(name: str) -> None:
    public = getattr(dc, name)
    assert inspect.getdoc(public)
    for member_name, member in vars(public).items() if inspect.isclass(public) else ():
        if not member_name.startswith("_") and (callable(member) or isinstance(member, property)):
            assert inspect.getdoc(member), f"{name}.{member_name}"


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (dc.compress, ["update", "config"]),
        (dc.decompress, ["packet", "schema", "config"]),
        (
            dc.encode_update,
            [
                "update",
                "schema",
                "config",
                "state",
                "importance",
                "residual",
                "sensitivity",
                "on_grid",
                "given",
            ],
        ),
        (dc.decode_update, ["packet", "schema", "state", "threads", "max_update_norm"]),
        (dc.inspect_packet, ["packet"]),
        (dc.UpdateEncoder, ["schema", "config"]),
        (dc.UpdateDecoder, ["schema", "config", "max_update_norm"]),
        (dc.UpdateEncoder.encode, ["self", "update", "importance", "residual", "sensitivity"]),
        (dc.UpdateDecoder.decode, ["self", "packet"]),
        (dc.Schema.from_arrays, ["update"]),
        (dc.Schema.from_json, ["text"]),
        (dc.CodecConfig.from_json, ["text"]),
        (dc.CodecConfig.auto, ["quality", "settings"]),
        (dc.StreamState.fresh, ["schema", "profile"]),
    ],
)
def test_public_signature_is_the_promised_one(function: object, parameters: list[str]) -> None:
    assert list(inspect.signature(function).parameters) == parameters


def test_a_newcomers_program_works_word_for_word() -> None:
    update = {"w": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4), "n": np.array([3])}
    schema = dc.Schema.from_arrays(update)
    config = dc.CodecConfig(step=0.004)
    encoder = dc.UpdateEncoder(schema, config)
    encoded = encoder.encode(update)
    decoder = dc.UpdateDecoder(schema, config)
    update2 = decoder.decode(encoded.packet)
    for name in update:
        assert update2[name].tobytes() == encoded.decoded[name].tobytes()
    saved = encoder.state_bytes()
    encoder.load_state(saved)
    assert encoder.state_digest == decoder.state_digest
    assert len(encoder.state_digest) == 8
    encoder.reset()
    packet = dc.compress(update, config)
    assert isinstance(packet, bytes)
    assert list(dc.decompress(packet, schema, config)) == ["w", "n"]
    assert encoded.report.packet_bytes == len(encoded.packet)
    assert dc.CodecConfig(relative_step=3.0).relative_step == 3.0


def test_import_brings_in_neither_flower_nor_torch() -> None:
    code = (
        "import sys, fl_deepcabac; "
        "sys.exit(bool({'flwr', 'torch', 'ray', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], check=False)
    assert run.returncode == 0
