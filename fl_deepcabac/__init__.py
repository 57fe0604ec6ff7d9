# SPDX-License-Identifier: Apache-2.0
"""Compress federated-learning updates with DeepCABAC.

`UpdateEncoder` and `UpdateDecoder` are the two ends of one stream of updates; `compress` and
`decompress` code a single one. `fl_deepcabac.flower` plugs them into Flower.
"""

from fl_deepcabac._native import __version__
from fl_deepcabac.allocation import GivenSteps
from fl_deepcabac.codec import DecodedUpdate, EncodedUpdate, decode_update, encode_update
from fl_deepcabac.config import CodecConfig
from fl_deepcabac.errors import (
    BudgetError,
    CheckpointError,
    ConfigError,
    CorruptPacketError,
    DecodeError,
    DeepCabacError,
    EncodeError,
    ImportanceError,
    LevelRangeError,
    LimitExceededError,
    NonFiniteError,
    SchemaMismatchError,
    SensitivityError,
    StateMismatchError,
    TruncatedPacketError,
    UnsupportedVersionError,
    UpdateNormError,
)
from fl_deepcabac.packet import FORMAT_VERSION, PacketHeader, inspect_packet
from fl_deepcabac.report import TensorReport, UpdateReport
from fl_deepcabac.schema import Schema, TensorSpec
from fl_deepcabac.stream import StreamState
from fl_deepcabac.update_stream import UpdateDecoder, UpdateEncoder, compress, decompress

__all__ = [
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
]
