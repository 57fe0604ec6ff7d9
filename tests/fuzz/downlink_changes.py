# SPDX-License-Identifier: Apache-2.0
"""What may become of a message that stands for a model: changes take their details from draws.

`CHANGES` is in the order by which inputs name them, so new ones go to the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import zstandard
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from robustness.crafting import repaired

import fl_deepcabac as dc
from fl_deepcabac.flower.broadcast_records import BROADCAST_STYPE, MODEL_KEY
from fl_deepcabac.flower.model_copy import ModelCopy
from fl_deepcabac.flower.records import NUMPY_STYPE, PACKET_STYPE, SETTINGS_KEY, TOKEN_KEY
from fl_deepcabac.flower.weights import schema_of
from fuzz.downlink_cases import Case, cases
from fuzz.inputs import Draws, edit_bytes, edit_json
from fuzz.packet import with_content
from fuzz.streams import REFUSALS

__all__ = ["APPS", "CHANGES", "Sent"]

CHAIN, ON_GRID, EXACT = 1, 2, 3
DIGEST_BYTES, LENGTH_BYTES = 8, 4
# A schema is a size; edits must not ask for more than this machine has.
MAX_ELEMENTS = 100_000
MAX_UNFOLDED_BYTES = 1 << 20
STYPES = (BROADCAST_STYPE, NUMPY_STYPE, PACKET_STYPE, "")
TYPES = ("train", "evaluate", "query", "train.again", "evaluate.x")
NAMES = ("arrays", "config", "weights", "", "fl-deepcabac-model")
# How the app behaves.
APPS = ("trains", "raises", "fails", "diverges", "reshapes", "returns nothing", "returns two")


@dataclass
class Sent:
    """A message on its way; edited."""

    case: Case
    content: RecordDict
    message_type: str = "train"
    app: str = APPS[0]

    @property
    def envelope(self) -> bytes:
        """What stands for the model; empty if nothing does."""
        records = self.content.array_records.values()
        return next((array.data for record in records for array in record.values()), b"")

    def put(self, envelope: bytes) -> None:
        array = Array("uint8", (len(envelope),), BROADCAST_STYPE, envelope)
        self.content["arrays"] = ArrayRecord({"packet": array})

    def put_value(self, key: str, value: str | bytes) -> None:
        """Put a value into the config, which other messages share."""
        config = self.content.config_records.get("config", ConfigRecord())
        self.content["config"] = ConfigRecord({**config, key: value})


Change = Callable[[Sent, Draws], None]


def edit_envelope(sent: Sent, draws: Draws) -> None:
    sent.put(edit_bytes(sent.envelope, draws))


def edit_packet(sent: Sent, draws: Draws) -> None:
    """Edit a packet in the envelope, and put its checksum right."""
    _edit_packet(sent, draws, is_true=False)


def edit_packet_truly(sent: Sent, draws: Draws) -> None:
    """Edit the first packet in the envelope, and let it say what it decodes to."""
    _edit_packet(sent, draws, is_true=True)


def _edit_packet(sent: Sent, draws: Draws, *, is_true: bool) -> None:
    envelope, kind = sent.envelope, sent.envelope[:1]
    # Where the packet's length stands, or that of the schema before it.
    at = 1 + DIGEST_BYTES if kind == bytes([CHAIN]) else 1
    if kind == bytes([CHAIN]) and draws.below(2) and not is_true:
        at += LENGTH_BYTES + _number_at(envelope, at) + DIGEST_BYTES
    begin = at + LENGTH_BYTES
    end = begin + _number_at(envelope, at)
    if kind == bytes([ON_GRID]):
        begin, end = end, len(envelope)
    packet = repaired(edit_bytes(envelope[begin:end], draws))
    if is_true:
        packet = _with_content(sent, envelope, packet)
    length = len(packet).to_bytes(LENGTH_BYTES, "little")
    head = envelope[:begin] if kind == bytes([ON_GRID]) else envelope[:at] + length
    sent.put(head + packet + envelope[end:])


def _unfold(frame: bytes) -> bytes:
    """Return what is in a frame; nothing where it is none, or states more than any of ours."""
    try:
        if not 0 <= zstandard.frame_content_size(frame) <= MAX_UNFOLDED_BYTES:
            return b""
        return zstandard.ZstdDecompressor().decompress(frame)
    except zstandard.ZstdError:
        return b""


def _number_at(envelope: bytes, at: int) -> int:
    return int.from_bytes(envelope[at : at + LENGTH_BYTES], "little")


def _with_content(sent: Sent, envelope: bytes, packet: bytes) -> bytes:
    """Return the packet with the digest of what it decodes to, as the client decodes it."""
    try:
        if envelope[:1] == bytes([CHAIN]):
            copy = ModelCopy(sent.case.records, run_id=1)
            schema = schema_of(copy.weights)
            return with_content(packet, schema, copy.state_for(packet, schema))
        text = envelope[1 + LENGTH_BYTES :][: _number_at(envelope, 1)]
        schema = dc.Schema.from_json(_unfold(text).decode())
        if schema.n_elements > MAX_ELEMENTS:
            return packet
        profile = dc.inspect_packet(packet).profile
        return with_content(packet, schema, dc.StreamState.fresh(schema, profile))
    except (*REFUSALS, KeyError, ValueError):
        return packet


def edit_schema(sent: Sent, draws: Draws) -> None:
    """Edit the schema of a keyframe."""
    envelope = sent.envelope
    end = 1 + LENGTH_BYTES + _number_at(envelope, 1)
    text = _unfold(envelope[1 + LENGTH_BYTES : end])
    edited = edit_json(text.decode("latin-1"), draws).encode("utf-8", "surrogatepass")
    if draws.below(2):
        edited = edit_bytes(text, draws)
    frame = zstandard.ZstdCompressor().compress(edited)
    length = len(frame).to_bytes(LENGTH_BYTES, "little")
    sent.put(envelope[:1] + length + frame + envelope[end:])


def edit_planes(sent: Sent, draws: Draws) -> None:
    """Edit the tensors of an exact keyframe."""
    envelope = sent.envelope
    begin = 1 + LENGTH_BYTES + _number_at(envelope, 1)
    edited = edit_bytes(_unfold(envelope[begin:]), draws)
    sent.put(envelope[:begin] + zstandard.ZstdCompressor().compress(edited))


def edit_name(sent: Sent, draws: Draws) -> None:
    """Edit what the message says of its model."""
    named = sent.case.content["config"][MODEL_KEY]
    assert isinstance(named, bytes)
    sent.put_value(MODEL_KEY, edit_bytes(named, draws))


def edit_settings(sent: Sent, draws: Draws) -> None:
    text = sent.case.content["config"][SETTINGS_KEY]
    assert isinstance(text, str)
    sent.put_value(SETTINGS_KEY, edit_json(text, draws))


def edit_token(sent: Sent, draws: Draws) -> None:
    token = sent.case.content["config"][TOKEN_KEY]
    assert isinstance(token, bytes)
    sent.put_value(TOKEN_KEY, edit_bytes(token, draws))


def dress(sent: Sent, draws: Draws) -> None:
    """Give the envelope another dtype, shape or kind."""
    envelope = sent.envelope
    shape = ((len(envelope),), (), (-1,))[draws.below(3)]
    array = Array("float32", shape, STYPES[draws.below(len(STYPES))], envelope)
    sent.content["arrays"] = ArrayRecord({"packet": array})


def add(sent: Sent, draws: Draws) -> None:
    """Add an array to a record, or a record."""
    name, kind = NAMES[draws.below(len(NAMES))], draws.below(6)
    data = draws.take(draws.below(64))
    array = Array("uint8", (len(data),), STYPES[draws.below(len(STYPES))], data)
    records = (
        ArrayRecord(),
        ArrayRecord({"packet": array}),
        ArrayRecord({**sent.content.array_records.get("arrays", {}), name: array}),
        MetricRecord({"x": 1}),
        ConfigRecord({MODEL_KEY: data, SETTINGS_KEY: data}),
        ConfigRecord({TOKEN_KEY: 1, MODEL_KEY: "x"}),
    )
    sent.content[name] = records[kind]


def remove(sent: Sent, draws: Draws) -> None:
    for name in list(sent.content)[draws.below(2) :][:1]:
        del sent.content[name]


def exchange(sent: Sent, draws: Draws) -> None:
    """Send what was meant for a client in another case."""
    other = cases()[draws.below(len(cases()))]
    if draws.below(2):
        sent.content["arrays"] = other.content["arrays"]
    else:
        sent.content["config"] = other.content["config"]


def retype(sent: Sent, draws: Draws) -> None:
    sent.message_type = TYPES[draws.below(len(TYPES))]


def misbehave(sent: Sent, draws: Draws) -> None:
    sent.app = APPS[draws.below(len(APPS))]


CHANGES: tuple[Change, ...] = (
    edit_envelope,
    edit_packet,
    edit_packet_truly,
    edit_schema,
    edit_planes,
    edit_name,
    edit_settings,
    edit_token,
    dress,
    add,
    remove,
    exchange,
    retype,
    misbehave,
)
