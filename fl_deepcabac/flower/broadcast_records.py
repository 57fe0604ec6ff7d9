# SPDX-License-Identifier: Apache-2.0
"""How a model travels down, as Flower records; the only place that spells it.

The message names the model by its digest, in a key of a ConfigRecord; its ArrayRecord is empty
where the node holds that model, and else has one Array, the envelope: a chain of differences, each
with the digest of the model it leads on from, a keyframe with its schema, or the file that the run
started from with the differences since.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import zstandard
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray

from fl_deepcabac.errors import (
    ConfigError,
    CorruptPacketError,
    LimitExceededError,
    SchemaMismatchError,
    TruncatedPacketError,
)
from fl_deepcabac.flower.records import replace_record
from fl_deepcabac.schema import Schema

__all__ = [
    "BROADCAST_STYPE",
    "Difference",
    "FileAndChain",
    "Keyframe",
    "Named",
    "envelope_of_chain",
    "envelope_of_file",
    "envelope_of_keyframe",
    "model_digest",
    "named_model",
    "parse_envelope",
    "write_broadcast",
]

MODEL_KEY: Final = "fl-deepcabac-model"
BROADCAST_STYPE: Final = "fl_deepcabac.broadcast"
PACKET_KEY: Final = "packet"
DIGEST_BYTES: Final = 8
LENGTH_BYTES: Final = 4
KEEPS, DROPS = b"\1", b"\0"
# First byte of an envelope.
CHAIN, ON_GRID, EXACT, FILE = 1, 2, 3, 4
# Schema texts are short; a frame that claims more is damaged.
MAX_SCHEMA_BYTES: Final = 2**26

Coding = Literal["on grid", "exact"]
_CODINGS: Final[dict[int, Coding]] = {ON_GRID: "on grid", EXACT: "exact"}


class Named(NamedTuple):
    """What a message says of its model: name of the ArrayRecord, digest, whether to keep a copy."""

    record_name: str
    digest: bytes
    keeps_copy: bool


@dataclass(frozen=True)
class Difference:
    """A packet that leads from one model to the next; `base` is the digest of the first."""

    base: bytes
    packet: bytes


@dataclass(frozen=True)
class Keyframe:
    """A whole model: a packet that was coded on the grid, or byte planes."""

    schema: Schema
    coding: Coding
    content: bytes


@dataclass(frozen=True)
class FileAndChain:
    """A model as a ``.dcbc`` file has it, and the differences that lead on from it."""

    content: bytes
    chain: tuple[Difference, ...] = ()


def model_digest(arrays: Mapping[str, NDArray[Any]], schema: Schema) -> bytes:
    """Name a model by all its bytes, 8 bytes."""
    digest = hashlib.blake2b(schema.digest, digest_size=DIGEST_BYTES)
    for spec in schema.tensors:
        array = arrays[spec.name]
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(little.tobytes())
    return digest.digest()


def envelope_of_chain(chain: Iterable[Difference]) -> bytes:
    """Join differences, oldest first."""
    return bytes([CHAIN]) + _joined(chain)


def envelope_of_file(file: FileAndChain) -> bytes:
    """Put a file and the differences since together."""
    return bytes([FILE]) + _sized(file.content) + _joined(file.chain)


def _joined(chain: Iterable[Difference]) -> bytes:
    return b"".join(link.base + _sized(link.packet) for link in chain)


def _sized(content: bytes) -> bytes:
    return len(content).to_bytes(LENGTH_BYTES, "little") + content


def envelope_of_keyframe(keyframe: Keyframe) -> bytes:
    """Put schema and content of a keyframe together."""
    kind = next(code for code, name in _CODINGS.items() if name == keyframe.coding)
    text = zstandard.ZstdCompressor(level=19).compress(keyframe.schema.to_json().encode())
    return bytes([kind]) + _sized(text) + keyframe.content


def write_broadcast(
    content: RecordDict, name: str, *, digest: bytes, keeps_copy: bool, envelope: bytes | None
) -> RecordDict:
    """Return the content of a message with its weights replaced.

    Parameters
    ----------
    content : RecordDict
        As the inner strategy made it; left as it is.
    name : str
        Of its ArrayRecord.
    digest : bytes
        Of the weights; 8 bytes.
    keeps_copy : bool
    envelope : bytes or None
        None where the node holds these weights.
    """
    arrays = ArrayRecord()
    if envelope is not None:
        arrays[PACKET_KEY] = Array("uint8", (len(envelope),), BROADCAST_STYPE, envelope)
    config_name, config = next(iter(content.config_records.items()), (MODEL_KEY, ConfigRecord()))
    named = ConfigRecord({**config, MODEL_KEY: digest + (KEEPS if keeps_copy else DROPS)})
    return replace_record(replace_record(content, name, arrays), config_name, named)


def named_model(content: RecordDict) -> Named | None:
    """Read what `write_broadcast` wrote about the model; None where weights travel as they are.

    Raises
    ------
    ConfigError
        If the key is not as this version writes it.
    """
    records = [record for record in content.config_records.values() if MODEL_KEY in record]
    if not records:
        return None
    value = records[0][MODEL_KEY]
    if not isinstance(value, bytes) or len(value) != DIGEST_BYTES + 1:
        raise ConfigError(MODEL_KEY, expected=f"{DIGEST_BYTES + 1} bytes", found=value)
    if len(content.array_records) != 1:
        found = len(content.array_records)
        raise ConfigError(MODEL_KEY, expected="one ArrayRecord beside it", found=found)
    [name] = content.array_records
    return Named(name, value[:DIGEST_BYTES], value[DIGEST_BYTES:] == KEEPS)


def parse_envelope(record: ArrayRecord) -> Sequence[Difference] | Keyframe | FileAndChain:
    """Read the envelope of an ArrayRecord; an empty chain where there is none.

    Raises
    ------
    CorruptPacketError, TruncatedPacketError
        If it is none of ours.
    """
    if not record:
        return ()
    arrays = list(record.values())
    if len(arrays) != 1 or arrays[0].stype != BROADCAST_STYPE:
        found = sorted({array.stype for array in arrays})
        raise CorruptPacketError("broadcast", 0, expected="one envelope", found=found)
    envelope = arrays[0].data
    kind = envelope[0] if envelope else 0
    if kind == CHAIN:
        return tuple(_parse_chain(envelope, 1))
    if kind == FILE:
        content, begin = _take_sized(envelope, 1)
        return FileAndChain(content, tuple(_parse_chain(envelope, begin)))
    if kind not in _CODINGS:
        raise CorruptPacketError("broadcast", 0, expected="kind 1, 2, 3 or 4", found=kind)
    text, begin = _take_sized(envelope, 1)
    return Keyframe(_parse_schema(text), _CODINGS[kind], envelope[begin:])


def _parse_schema(text: bytes) -> Schema:
    """Read a compressed schema text."""
    try:
        # The frame names its size before anything is allocated for it.
        if (n_bytes := zstandard.frame_content_size(text)) > MAX_SCHEMA_BYTES:
            raise LimitExceededError("schema text", limit=MAX_SCHEMA_BYTES, requested=n_bytes)
        raw = zstandard.ZstdDecompressor().decompress(text, max_output_size=MAX_SCHEMA_BYTES)
        return Schema.from_json(raw.decode("ascii"))
    except (zstandard.ZstdError, UnicodeDecodeError, SchemaMismatchError) as error:
        raise CorruptPacketError("broadcast", 1, expected="a schema", found=str(error)) from error


def _parse_chain(envelope: bytes, begin: int) -> Iterable[Difference]:
    while begin < len(envelope):
        base = envelope[begin : begin + DIGEST_BYTES]
        packet, begin = _take_sized(envelope, begin + DIGEST_BYTES)
        yield Difference(base, packet)


def _take_sized(envelope: bytes, begin: int) -> tuple[bytes, int]:
    """Return the bytes whose length stands at `begin`, and where they end."""
    start = begin + LENGTH_BYTES
    end = start + int.from_bytes(envelope[begin:start], "little")
    if start > len(envelope) or end > len(envelope):
        raise TruncatedPacketError("broadcast", needed=end, available=len(envelope))
    return envelope[start:end], end
