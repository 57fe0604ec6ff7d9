# SPDX-License-Identifier: Apache-2.0
"""What may become of the replies of a round on their way: each change takes its details from draws.

`CHANGES` is in the order by which inputs name them, so new ones go to the end.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

from flower.four_nodes import put_packet
from flower.toy import record_of
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from robustness.crafting import repaired

import fl_deepcabac as dc
from fl_deepcabac.flower.model_copy import NEEDS_KEYFRAME
from fl_deepcabac.flower.records import ENVELOPE_HEAD, NUMPY_STYPE, PACKET_STYPE
from fuzz.conversation import NODES, SCHEMA, Answer
from fuzz.inputs import Draws, edit_bytes
from fuzz.packet import with_content

__all__ = ["CHANGES", "Scenery", "packet_arrays"]

DTYPES = ("uint8", "float32", "", "O", "int8")
STYPES = (PACKET_STYPE, NUMPY_STYPE, "", "fl_deepcabac.broadcast", "torch.Tensor")
NAMES = ("arrays", "metrics", "weights", "", "fl-deepcabac")
REASONS = ("", NEEDS_KEYFRAME, f"model 00 {NEEDS_KEYFRAME}: x", "DecodeError")
# Node 1 is the SuperLink.
SOURCES = (*NODES, 0, 1, 77)


@dataclass
class Scenery:
    """What changes draw on.

    Parameters
    ----------
    replies : list of Message
        As they will arrive; edited.
    answers : dict of int to Answer
        What nodes have answered in this round.
    fresh : dict of int to Answer
        What they would have answered if the server had named no state.
    late : list of Message
        The replies of the round before.
    state_of : callable
        Takes a node and a packet of it, returns the state that this is to be decoded against.
    """

    replies: list[Message]
    answers: dict[int, Answer]
    fresh: dict[int, Answer]
    late: list[Message]
    state_of: Callable[[int, bytes], dc.StreamState]


Change = Callable[[Scenery, int, Draws], None]


def packet_arrays(reply: Message) -> list[Array]:
    """Return all arrays of a reply that claim to be packets."""
    if not reply.has_content():
        return []
    records = reply.content.array_records.values()
    return [one for record in records for one in record.values() if one.stype == PACKET_STYPE]


def _envelope(reply: Message) -> bytes:
    arrays = packet_arrays(reply)
    return arrays[0].data if arrays else b""


def _put(reply: Message, record: ArrayRecord, name: str = "arrays") -> None:
    if reply.has_content():
        reply.content[name] = record


def _put_envelope(reply: Message, envelope: bytes) -> None:
    array = Array("uint8", (len(envelope),), PACKET_STYPE, envelope)
    _put(reply, ArrayRecord({"packet": array}))


def edit_envelope(scenery: Scenery, which: int, draws: Draws) -> None:
    reply = scenery.replies[which]
    _put_envelope(reply, edit_bytes(_envelope(reply), draws))


def edit_packet(scenery: Scenery, which: int, draws: Draws) -> None:
    """Edit the packet, and put all checksums right."""
    reply = scenery.replies[which]
    packet = repaired(edit_bytes(_envelope(reply)[ENVELOPE_HEAD.size :], draws))
    if reply.has_content():
        put_packet(reply, packet)


def edit_packet_truly(scenery: Scenery, which: int, draws: Draws) -> None:
    """Edit the packet, and let it say what it decodes to."""
    edit_packet(scenery, which, draws)
    reply = scenery.replies[which]
    packet = _envelope(reply)[ENVELOPE_HEAD.size :]
    if reply.has_content():
        state = scenery.state_of(reply.metadata.src_node_id, packet)
        put_packet(reply, with_content(packet, SCHEMA, state))


def lose(scenery: Scenery, which: int, draws: Draws) -> None:
    del draws
    if len(scenery.replies) > 1:
        del scenery.replies[which]


def double(scenery: Scenery, which: int, draws: Draws) -> None:
    """Let a reply arrive again: the same object, or one like it."""
    reply = scenery.replies[which]
    is_same = draws.below(2) == 0 or not reply.has_content()
    scenery.replies.insert(draws.below(4), reply if is_same else _copy(reply))


def replay(scenery: Scenery, which: int, draws: Draws) -> None:
    """Let a reply of the round before arrive, beside or in the content of one of this round."""
    late = _copy(scenery.late[draws.below(len(NODES))])
    if draws.below(2):
        scenery.replies.insert(which, late)
    else:
        _put(scenery.replies[which], late.content["arrays"])


def swap(scenery: Scenery, which: int, draws: Draws) -> None:
    """Let two replies change their contents."""
    one, other = scenery.replies[which], scenery.replies[draws.below(len(scenery.replies))]
    if one.has_content() and other.has_content():
        one.content, other.content = other.content, one.content


def fail(scenery: Scenery, which: int, draws: Draws) -> None:
    """Let an error stand for the reply, from its node or the SuperLink."""
    reply = scenery.replies[which]
    reason = REASONS[draws.below(len(REASONS))] + draws.take(draws.below(9)).decode("latin-1")
    error = Error(draws.below(256), reason or None)
    scenery.replies[which] = Message(error=error, metadata=reply.metadata)
    scenery.replies[which].metadata.__dict__["_src_node_id"] = SOURCES[draws.below(len(SOURCES))]


def dress(scenery: Scenery, which: int, draws: Draws) -> None:
    """Give the envelope another dtype, shape or kind."""
    envelope = _envelope(scenery.replies[which])
    shape = ((len(envelope),), (), (1, len(envelope)), (-1,), (0,), (10**30,))[draws.below(6)]
    dtype, stype = DTYPES[draws.below(len(DTYPES))], STYPES[draws.below(len(STYPES))]
    _put(scenery.replies[which], ArrayRecord({"packet": Array(dtype, shape, stype, envelope)}))


def add(scenery: Scenery, which: int, draws: Draws) -> None:
    """Add an array to a record, or a record."""
    reply = scenery.replies[which]
    if not reply.has_content():
        return
    name, kind = NAMES[draws.below(len(NAMES))], draws.below(6)
    data = draws.take(draws.below(64))
    array = Array("uint8", (len(data),), STYPES[draws.below(len(STYPES))], data)
    records = (
        ArrayRecord(),
        ArrayRecord({"packet": array}),
        ArrayRecord({**reply.content.array_records.get("arrays", {}), name: array}),
        MetricRecord({"num-examples": 3}),
        ConfigRecord({"fl-deepcabac": data}),
        ConfigRecord(),
    )
    reply.content[name] = records[kind]


def remove(scenery: Scenery, which: int, draws: Draws) -> None:
    content = scenery.replies[which].content if scenery.replies[which].has_content() else {}
    for name in list(content)[draws.below(2) :][:1]:
        del content[name]


def uncompress(scenery: Scenery, which: int, draws: Draws) -> None:
    """Send weights as they are, or such with edited bytes."""
    reply = scenery.replies[which]
    answer = scenery.answers[NODES[draws.below(len(NODES))]]
    record = record_of(answer.weights)
    if draws.below(2):
        name = list(record)[draws.below(len(record))]
        array = record[name]
        data = edit_bytes(array.data, draws)
        record[name] = Array(array.dtype, array.shape, array.stype, data)
    _put(reply, record)


def misaddress(scenery: Scenery, which: int, draws: Draws) -> None:
    """Let the reply name another message, source or kind of message."""
    reply, kind = scenery.replies[which], draws.below(3)
    names = [*(f"{n}-{node}" for n in (1, 2, 3) for node in NODES), "", "x"]
    known = reply.metadata.__dict__
    if kind == 0:
        known["_reply_to_message_id"] = names[draws.below(len(names))]
    elif kind == 1:
        known["_src_node_id"] = SOURCES[draws.below(len(SOURCES))]
    else:
        known["_message_type"] = ("train", "evaluate", "query", "train.x")[draws.below(4)]


def rename(scenery: Scenery, which: int, draws: Draws) -> None:
    reply, name = scenery.replies[which], NAMES[draws.below(len(NAMES))]
    if reply.has_content() and "arrays" in reply.content:
        arrays = reply.content["arrays"]
        del reply.content["arrays"]
        reply.content[name] = arrays


def start_afresh(scenery: Scenery, which: int, draws: Draws) -> None:
    """Let a node code against a fresh state, as one that has forgotten does."""
    del draws
    reply = scenery.replies[which]
    node_id = reply.metadata.src_node_id
    if reply.has_content() and node_id in scenery.fresh:
        put_packet(reply, scenery.fresh[node_id].packet)


def reorder(scenery: Scenery, which: int, draws: Draws) -> None:
    scenery.replies.insert(draws.below(4), scenery.replies.pop(which))


def _copy(reply: Message) -> Message:
    """Return a message of the same content and a metadata of its own."""
    return Message(RecordDict({**reply.content}), metadata=copy.copy(reply.metadata))


CHANGES: tuple[Change, ...] = (
    edit_envelope,
    edit_packet,
    edit_packet_truly,
    lose,
    double,
    replay,
    swap,
    fail,
    dress,
    add,
    remove,
    uncompress,
    misaddress,
    rename,
    start_afresh,
    reorder,
)
