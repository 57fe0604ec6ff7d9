# SPDX-License-Identifier: Apache-2.0
"""What the two ends say to each other, as Flower records; the only place that spells it.

Down: two keys in a ConfigRecord of the train message, the settings (JSON) and the token, which
names the state that the server holds for this node. Up: one Array per update whose data is the
envelope: a checksum that binds it to the message it answers, encode time, then the packet.
Invariant: records that messages may share are copied, never edited.
"""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any, Final, NamedTuple

from flwr.app import Array, ArrayRecord, ConfigRecord, Metadata, RecordDict
from numpy.typing import NDArray

from fl_deepcabac.config import CodecConfig
from fl_deepcabac.errors import ConfigError, CorruptPacketError, TruncatedPacketError

__all__ = [
    "FRESH_TOKEN",
    "IMPORTANCE_RECORD",
    "NUMPY_STYPE",
    "PACKET_STYPE",
    "ParsedUpdate",
    "check_binding",
    "parse_settings",
    "parse_update",
    "refuse_secure_aggregation",
    "replace_record",
    "settings_of",
    "take_importance",
    "write_settings",
    "write_update",
]

PROTOCOL_VERSION: Final = 1
SETTINGS_KEY: Final = "fl-deepcabac"
TOKEN_KEY: Final = "fl-deepcabac-state"
# Eight zero bytes name no state: code against a fresh one.
FRESH_TOKEN: Final = bytes(8)

# What an app leaves for the mod in its context's state; it does not travel.
IMPORTANCE_RECORD: Final = "fl-deepcabac-importance"

PACKET_KEY: Final = "packet"
PACKET_STYPE: Final = "fl_deepcabac.packet"
# Flower's own serialisation of NumPy arrays; its constant is not public.
NUMPY_STYPE: Final = "numpy.ndarray"

# What stands before the packet: CRC-32; encode time in seconds, half precision, which is a
# thousandth of it. That is advisory, and saturates after 18 hours.
ENVELOPE_HEAD: Final = struct.Struct("<Ie")
CHECKSUM_BYTES: Final = 4
MAX_ENCODE_SECONDS: Final = 65504.0

# Flower's SecAgg+ keeps its records under names that start so.
SECURE_AGGREGATION_PREFIX: Final = "secagg"


class ParsedUpdate(NamedTuple):
    """The update in a reply: name of its ArrayRecord, the envelope, and two things from it."""

    record_name: str
    envelope: bytes
    packet: bytes
    encode_seconds: float


def write_settings(content: RecordDict, config: CodecConfig, *, token: bytes) -> RecordDict:
    """Return the content of a train message with the two keys of ours added.

    Parameters
    ----------
    content : RecordDict
        As the inner strategy made it; shared between messages, and left as it is. The keys go into
        its first ConfigRecord, because some client mods demand that there is exactly one; where
        there is none, one is added.
    config : CodecConfig
    token : bytes
        Digest of the state that the server holds for the node, or `FRESH_TOKEN`. 8 bytes.

    Returns
    -------
    RecordDict
        A new one, with a new ConfigRecord; all other records are the same objects.
    """
    name, record = next(iter(content.config_records.items()), (SETTINGS_KEY, ConfigRecord()))
    settings = {"protocol": PROTOCOL_VERSION, "config": json.loads(config.to_json())}
    text = json.dumps(settings, separators=(",", ":"))
    with_ours = ConfigRecord({**record, SETTINGS_KEY: text, TOKEN_KEY: token})
    return replace_record(content, name, with_ours)


def settings_of(content: RecordDict) -> ConfigRecord | None:
    """Find the ConfigRecord that carries our settings, whatever its name."""
    for record in content.config_records.values():
        if SETTINGS_KEY in record:
            return record
    return None


def parse_settings(record: ConfigRecord) -> tuple[CodecConfig, bytes] | None:
    """Read what `write_settings` wrote.

    Parameters
    ----------
    record : ConfigRecord
        As `settings_of` found it.

    Returns
    -------
    tuple of (CodecConfig, bytes) or None
        Settings and token; None if the server speaks another version of the protocol.

    Raises
    ------
    ConfigError
        If a value is not what this version of the protocol writes.
    """
    text, token = record[SETTINGS_KEY], record.get(TOKEN_KEY)
    try:
        settings = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict) or "protocol" not in settings:
        raise ConfigError(SETTINGS_KEY, expected="JSON with protocol and config", found=text)
    if settings["protocol"] != PROTOCOL_VERSION:
        return None
    if not isinstance(token, bytes) or len(token) != len(FRESH_TOKEN):
        raise ConfigError(TOKEN_KEY, expected=f"{len(FRESH_TOKEN)} bytes", found=token)
    return CodecConfig.from_json(json.dumps(settings.get("config"))), token


def write_update(packet: bytes, *, answers: Metadata, encode_seconds: float) -> ArrayRecord:
    """Wrap a packet as the single Array of an ArrayRecord.

    One Array per update, because every Array costs more than 2 kB on the wire.

    Parameters
    ----------
    packet : bytes
    answers : Metadata
        Of the train message that it answers.
    encode_seconds : float
        Time that coding took; the server reports it.

    Returns
    -------
    ArrayRecord
    """
    unbound = ENVELOPE_HEAD.pack(0, min(encode_seconds, MAX_ENCODE_SECONDS)) + packet
    checksum = _checksum(unbound, answers)
    envelope = checksum.to_bytes(CHECKSUM_BYTES, "little") + unbound[CHECKSUM_BYTES:]
    return ArrayRecord({PACKET_KEY: Array("uint8", (len(envelope),), PACKET_STYPE, envelope)})


def parse_update(content: RecordDict) -> ParsedUpdate | None:
    """Read what `write_update` wrote, from the content of a reply.

    Parameters
    ----------
    content : RecordDict

    Returns
    -------
    ParsedUpdate or None
        None if nothing in the content is ours. `check_binding` says whose answer it is.

    Raises
    ------
    CorruptPacketError
        If something is ours, but not as `write_update` makes it.
    TruncatedPacketError
        If the envelope ends before its packet begins.
    """
    records = content.array_records
    arrays = [array for record in records.values() for array in record.values()]
    if all(array.stype != PACKET_STYPE for array in arrays):
        return None
    if len(records) != 1 or len(arrays) != 1:
        found = f"{len(records)} records with {len(arrays)} arrays"
        raise CorruptPacketError("envelope", 0, expected="one record with one packet", found=found)
    [name], [array] = records, arrays
    envelope = array.data
    n_bytes = len(envelope)
    if n_bytes < ENVELOPE_HEAD.size:
        raise TruncatedPacketError("envelope", needed=ENVELOPE_HEAD.size, available=n_bytes)
    if (array.dtype, tuple(array.shape)) != ("uint8", (n_bytes,)):
        found = f"{array.dtype} {array.shape}"
        raise CorruptPacketError("envelope", 0, expected=f"uint8 ({n_bytes},)", found=found)
    _, seconds = ENVELOPE_HEAD.unpack_from(envelope)
    if not 0 <= seconds <= MAX_ENCODE_SECONDS:
        expected = f"at most {MAX_ENCODE_SECONDS:.0f} seconds"
        raise CorruptPacketError("envelope", CHECKSUM_BYTES, expected=expected, found=seconds)
    return ParsedUpdate(name, envelope, envelope[ENVELOPE_HEAD.size :], seconds)


def check_binding(update: ParsedUpdate, answers: Metadata) -> None:
    """Raise unless an update was written as the answer to this very message, by its node.

    Parameters
    ----------
    update : ParsedUpdate
    answers : Metadata
        Of the message that the reply with this update names.

    Raises
    ------
    CorruptPacketError
        If the packet belongs to another message, or the envelope is damaged.
    """
    expected = _checksum(update.envelope, answers)
    found, _ = ENVELOPE_HEAD.unpack_from(update.envelope)
    if found != expected:
        message = f"message {answers.message_id!r} to node {answers.dst_node_id}"
        raise CorruptPacketError(
            "envelope", 0, expected=f"{expected:08x}, to answer {message}", found=f"{found:08x}"
        )


def _checksum(envelope: bytes, answers: Metadata) -> int:
    """Return the CRC-32 of message id, node id and the envelope after its checksum."""
    binding = f"{answers.message_id} {answers.dst_node_id} ".encode()
    return zlib.crc32(memoryview(envelope)[CHECKSUM_BYTES:], zlib.crc32(binding))


def replace_record(
    content: RecordDict, name: str, record: ArrayRecord | ConfigRecord
) -> RecordDict:
    """Return the same content with one record put in, in its old place if it has one."""
    return RecordDict({**content, name: record})


def take_importance(state: RecordDict) -> dict[str, NDArray[Any]] | None:
    """Take out of a context's state what the app left there of the importance of each weight.

    Parameters
    ----------
    state : RecordDict
        Loses the record `IMPORTANCE_RECORD`, which is of one update only.

    Returns
    -------
    dict of str to ndarray, or None
        None without one.
    """
    record = state.array_records.get(IMPORTANCE_RECORD)
    if record is None:
        return None
    del state[IMPORTANCE_RECORD]
    return {name: array.numpy() for name, array in record.items()}


def refuse_secure_aggregation(content: RecordDict) -> None:
    """Raise if the records of SecAgg or SecAgg+ are in `content`.

    Raises
    ------
    ConfigError
        Masked vectors are uniformly random: they cannot be compressed, and a compressed update
        cannot be masked, because sums of packets mean nothing.
    """
    for name in content:
        if name.lower().startswith(SECURE_AGGREGATION_PREFIX):
            raise ConfigError(
                "secure aggregation", expected="none together with fl_deepcabac", found=name
            )
