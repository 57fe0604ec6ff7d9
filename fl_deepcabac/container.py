# SPDX-License-Identifier: Apache-2.0
"""A packet in a file, together with the schema and the settings that its decoder needs.

On the wire both sides know these; a file must carry them. All integers are little-endian::

    offset  bytes  content
    0       4      magic "DCBC"
    4       1      version of this layout, 2
    5       3      zero
    8       4      length of the description
    12      8      length of the packet
    20      4      CRC-32 of the description (a packet has its own)
    24             description: one zstandard frame, which states its size, of a UTF-8 JSON object
                   with "config", the settings that are not usual, and "schema"
                   packet, to the end of the file

Version 1 has the JSON as it is, with all settings; it is read, not written. Invariant: every byte
is accounted for, and lengths are checked against the file before use.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import zstandard

from fl_deepcabac.atomic_file import write_atomically
from fl_deepcabac.config import CodecConfig
from fl_deepcabac.errors import (
    CorruptPacketError,
    LimitExceededError,
    TruncatedPacketError,
    UnsupportedVersionError,
)
from fl_deepcabac.schema import Schema
from fl_deepcabac.zstd_frame import unfold

__all__ = [
    "CONTAINER_VERSION",
    "container_bytes",
    "is_container",
    "parse_container",
    "read_container",
    "write_container",
]

CONTAINER_VERSION = 2
_MAGIC = b"DCBC"
# Of the JSON: some hundred thousand tensors.
MAX_DESCRIPTION_BYTES = 2**24
_ZSTD_LEVEL = 19
# What version 2 leaves out, whatever the defaults of a later package are.
_USUAL = {
    "quantizer": "rdoq",
    "rd_lambda": 0.13,
    "dead_zone": 0.6,
    "allocation": "size",
    "step_overrides": (),
    "error_feedback": True,
    "threads": 1,
}
_HEADER = struct.Struct("<4sB3sIQI")


def write_container(path: Path, packet: bytes, schema: Schema, config: CodecConfig) -> None:
    """Write a container, atomically.

    Parameters
    ----------
    path : Path
        Replaced if it exists.
    packet : bytes
        Coded against a fresh state, or no one can read it from the file alone.
    schema : Schema
        Of the update in the packet.
    config : CodecConfig
        That the packet was made with.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    write_atomically(path, container_bytes(packet, schema, config))


def read_container(path: Path) -> tuple[bytes, Schema, CodecConfig]:
    """Read what `write_container` wrote.

    Parameters
    ----------
    path : Path

    Returns
    -------
    tuple of (bytes, Schema, CodecConfig)

    Raises
    ------
    OSError
        If the file cannot be read.
    DecodeError
        As `parse_container`.
    """
    return parse_container(path.read_bytes())


def container_bytes(packet: bytes, schema: Schema, config: CodecConfig) -> bytes:
    """Return the content of a container file.

    Parameters
    ----------
    packet, schema, config
        As for `write_container`.

    Returns
    -------
    bytes

    Raises
    ------
    LimitExceededError
        If names and shapes take more than `MAX_DESCRIPTION_BYTES`.
    """
    # Without rates: those of a config are told by their being there.
    settings = {
        name: value
        for name, value in asdict(config).items()
        if value is not None and value != _USUAL.get(name)
    }
    text = json.dumps(
        {"config": settings, "schema": json.loads(schema.to_json())},
        sort_keys=True,
        separators=(",", ":"),
    )
    if len(text) > MAX_DESCRIPTION_BYTES:
        raise LimitExceededError(
            "container description", limit=MAX_DESCRIPTION_BYTES, requested=len(text)
        )
    description = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(text.encode())
    header = _HEADER.pack(
        _MAGIC,
        CONTAINER_VERSION,
        bytes(3),
        len(description),
        len(packet),
        zlib.crc32(description),
    )
    return header + description + packet


def is_container(content: bytes) -> bool:
    """Say whether bytes start as a container does; a bare packet does not."""
    return content[: len(_MAGIC)] == _MAGIC


def parse_container(content: bytes) -> tuple[bytes, Schema, CodecConfig]:
    """Read the content of a container file.

    Parameters
    ----------
    content : bytes

    Returns
    -------
    tuple of (bytes, Schema, CodecConfig)
        The packet is taken out, not checked: its decoder does that.

    Raises
    ------
    TruncatedPacketError
        If the file ends too early.
    UnsupportedVersionError
        If the layout is newer than this package.
    CorruptPacketError, LimitExceededError
        If the bytes contradict the layout, or the description is larger than any.
    """
    if not is_container(content) and not _MAGIC.startswith(content):
        raise CorruptPacketError("container magic", 0, expected=repr(_MAGIC), found=content[:4])
    if len(content) < _HEADER.size:
        raise TruncatedPacketError(needed=_HEADER.size, available=len(content))
    _, version, reserved, n_description_bytes, n_packet_bytes, crc32 = _HEADER.unpack_from(content)
    if version > CONTAINER_VERSION:
        raise UnsupportedVersionError(found=version, supported=CONTAINER_VERSION)
    if version < 1 or any(reserved):
        found = content[4:8].hex()
        raise CorruptPacketError("container version", 4, expected="02000000", found=found)
    packet_start = _HEADER.size + n_description_bytes
    n_bytes = packet_start + n_packet_bytes
    if len(content) < n_bytes:
        raise TruncatedPacketError(needed=n_bytes, available=len(content))
    if len(content) > n_bytes:
        found = f"{len(content) - n_bytes} bytes"
        raise CorruptPacketError("container end", n_bytes, expected="the end", found=found)
    description = content[_HEADER.size : packet_start]
    if zlib.crc32(description) != crc32:
        raise CorruptPacketError(
            "container description",
            _HEADER.size,
            expected=f"CRC-32 {crc32:08x}",
            found=f"{zlib.crc32(description):08x}",
        )
    if version > 1:
        description = unfold(
            description,
            limit=MAX_DESCRIPTION_BYTES,
            section="container description",
            offset=_HEADER.size,
        )
    schema, config = _parse_description(description, _USUAL if version > 1 else {})
    return content[packet_start:], schema, config


def _parse_description(description: bytes, usual: dict[str, Any]) -> tuple[Schema, CodecConfig]:
    """Read schema and settings; the CRC has matched, so a fault here is the writer's."""
    try:
        values = json.loads(description)
        schema = Schema.from_json(json.dumps(values["schema"]))
        config = CodecConfig.from_json(json.dumps(usual | values["config"]))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CorruptPacketError(
            "container description", _HEADER.size, expected="schema and config", found=error
        ) from error
    return schema, config
