# SPDX-License-Identifier: Apache-2.0
"""Replies to a strategy: a bad one costs its own node's round, and nobody anything else.

Input: a byte that names a setup, then changes to the replies of a round (`reply_changes`), each a
byte that names a reply, one that names the change, and what this draws. After that round comes one
in which all goes well.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from flower.toy import EXACT, Arrays, arrays_of, record_of
from flwr.app import ArrayRecord, Message, RecordDict

import fl_deepcabac as dc
from fl_deepcabac.flower.records import FRESH_TOKEN, NUMPY_STYPE, write_settings
from fuzz.conversation import NODES, SETUPS, Answer, Inner, Scene, Server, scene_of, told, weigh
from fuzz.inputs import Draws
from fuzz.reply_changes import CHANGES, Scenery, packet_arrays
from fuzz.streams import REFUSALS

MAX_CHANGES = 8
FRESH_FLAG = 1
FLAGS_OFFSET = 12
ENVELOPE = struct.Struct("<Ie")

Answers = dict[int, Answer]


@dataclass
class Expected:
    """What the inner strategy must be given for a reply.

    `weights` are those of a packet; without them, and without `reply`, an error of the node.
    """

    node_id: int
    reply: Message | None = None
    weights: Arrays | None = None
    record_name: str = ""
    digest_after: bytes = b""


def run(data: bytes) -> None:
    draws = Draws(data)
    scene = scene_of(SETUPS[draws.below(len(SETUPS))])
    server = scene.server()
    messages = {message.metadata.dst_node_id: message for message in server.ask(2)}
    answers = {node: scene.answer(one, scene.before[node]) for node, one in messages.items()}
    scenery = Scenery(
        replies=[answers[node].reply_to(message) for node, message in messages.items()],
        answers=answers,
        fresh={node: _fresh_answer(scene, message) for node, message in messages.items()},
        late=scene.late,
        state_of=partial(_state_of, scene, messages),
    )
    for _ in range(MAX_CHANGES):
        if draws:
            which = draws.below(len(scenery.replies))
            CHANGES[draws.below(len(CHANGES))](scenery, which, draws)
    tokens = _play_bad_round(scene, server, messages, scenery)
    _play_good_round(scene, server, answers, tokens)


def _fresh_answer(scene: Scene, message: Message) -> Answer:
    node_id = message.metadata.dst_node_id
    content = write_settings(message.content, EXACT, token=FRESH_TOKEN)
    return scene.answer(Message(content, metadata=message.metadata), scene.before[node_id])


def _state_of(
    scene: Scene, messages: dict[int, Message], node_id: int, packet: bytes
) -> dc.StreamState:
    """Return the state that a packet is to be decoded against."""
    is_fresh = len(packet) > FLAGS_OFFSET and packet[FLAGS_OFFSET] & FRESH_FLAG
    token = FRESH_TOKEN if is_fresh or node_id not in messages else told(messages[node_id])[0]
    return scene.memory.state_of(token)


def _play_bad_round(
    scene: Scene, server: Server, messages: dict[int, Message], scenery: Scenery
) -> dict[int, bytes]:
    """Play the round with changed replies; return the tokens that must be in the next one."""
    waiting = {message.metadata.message_id: message for message in messages.values()}
    expected = []
    for reply in scenery.replies:
        message = waiting.pop(reply.metadata.reply_to_message_id, None)
        expected.append(_judge(reply, message, scenery))
    plain = _aggregate_plainly(expected, scenery.replies)
    server.inner.watch = partial(_check_received, expected)
    found = _outcome(server.strategy.aggregate_train, 2, scenery.replies)
    _check_outcome(found, plain, is_whole=scene.setup.downlink is None)
    rows = server.strategy.communication.rounds[-1].transfers
    n_errors = sum(one.reply is None and one.weights is None for one in expected)
    assert sum(row.failure is not None for row in rows) >= n_errors
    assert json.dumps(server.strategy.communication.to_dicts(), allow_nan=False)
    if not scene.setup.keeps_states:
        return dict.fromkeys(NODES, FRESH_TOKEN)
    after = {one.node_id: one.digest_after for one in expected if one.weights is not None}
    return {node: after.get(node, told(message)[0]) for node, message in messages.items()}


def _judge(reply: Message, message: Message | None, scenery: Scenery) -> Expected:
    """Say what must come of a reply to a message, by docs/protocol.md 3 and 5."""
    node_id = message.metadata.dst_node_id if message else reply.metadata.src_node_id
    packets = packet_arrays(reply)
    if not packets:
        is_usable = message is None or reply.has_error() or _is_readable(reply.content)
        return Expected(node_id, reply=reply if is_usable else None)
    records = reply.content.array_records
    if message is None or len(records) != 1 or len(next(iter(records.values()))) != 1:
        return Expected(node_id)
    [array], [name] = packets, records
    envelope = array.data
    if (array.dtype, tuple(array.shape)) != ("uint8", (len(envelope),)) or len(envelope) < 6:
        return Expected(node_id)
    checksum, seconds = ENVELOPE.unpack_from(envelope)
    binding = f"{message.metadata.message_id} {node_id} ".encode()
    if not 0 <= seconds <= 65504 or zlib.crc32(binding + envelope[4:]) != checksum:
        return Expected(node_id)
    packet = envelope[6:]
    try:
        state = scenery.state_of(node_id, packet)
        weights, digest = weigh(packet, state, scenery.answers[node_id].seen)
    except REFUSALS:
        return Expected(node_id)
    return Expected(node_id, weights=weights, record_name=name, digest_after=digest)


def _is_readable(content: RecordDict) -> bool:
    """Whether NumPy can read all arrays that say so."""
    arrays = [array for record in content.array_records.values() for array in record.values()]
    try:
        tensors = [array.numpy() for array in arrays if array.stype == NUMPY_STYPE]
    except Exception:  # whatever NumPy finds wrong with it
        return False
    return all(isinstance(tensor, np.ndarray) for tensor in tensors)


def _check_received(expected: list[Expected], received: list[Message]) -> None:
    """What the inner strategy is given is what was expected, in order."""
    assert len(received) == len(expected)
    for got, want in zip(received, expected, strict=True):
        if want.reply is not None:
            assert got is want.reply
        elif want.weights is None:
            assert got.has_error()
            assert got.metadata.src_node_id == want.node_id
        else:
            found = arrays_of(got.content.array_records[want.record_name])
            assert _bytes_of(found) == _bytes_of(want.weights)


def _bytes_of(arrays: Arrays) -> dict[str, tuple[str, bytes]]:
    return {name: (array.dtype.str, array.tobytes()) for name, array in arrays.items()}


Outcome = tuple[ArrayRecord | None, Exception | None]


def _outcome(aggregate: Any, server_round: int, replies: list[Message]) -> Outcome:
    """Return what an aggregation returns, or what it raises."""
    try:
        return aggregate(server_round, replies)[0], None
    except AssertionError:
        raise
    except Exception as error:  # Flower's, over replies without packets: judged by the caller
        return None, error


def _aggregate_plainly(expected: list[Expected], replies: list[Message]) -> Outcome:
    """Return what Flower's strategy alone makes of what must come of the replies."""
    usable = []
    for want, reply in zip(expected, replies, strict=True):
        if want.reply is not None:
            usable.append(want.reply)
        elif want.weights is not None:
            content = RecordDict({**reply.content, want.record_name: record_of(want.weights)})
            usable.append(Message(content, metadata=reply.metadata))
    return _outcome(Inner().aggregate_train, 2, usable)


def _check_outcome(found: Outcome, plain: Outcome, *, is_whole: bool) -> None:
    """The strategy has returned, or raised, what Flower's own does; dtypes are kept besides.

    With a compressed way down, what was left out of the model is added: not whole.
    """
    assert type(found[1]) is type(plain[1]), (found[1], plain[1])
    assert (found[0] is None) == (plain[0] is None)
    if found[0] is None or plain[0] is None or not is_whole:
        return
    arrays, wanted = arrays_of(found[0]), arrays_of(plain[0])
    assert list(arrays) == list(wanted)
    for name, array in arrays.items():
        exact = np.rint(wanted[name]) if array.dtype.kind in "iu" else wanted[name]
        assert np.array_equal(array, exact.astype(array.dtype), equal_nan=True)


def _play_good_round(
    scene: Scene, server: Server, answers: Answers, tokens: dict[int, bytes]
) -> None:
    """Play a round in which nothing goes wrong, and demand that nothing does."""
    messages = server.ask(3)
    replies, expected = [], []
    for message in messages:
        node_id = message.metadata.dst_node_id
        assert told(message)[0] == tokens[node_id]
        answer = scene.answer(message, answers[node_id])
        replies.append(answer.reply_to(message))
        expected.append(Expected(node_id, weights=answer.weights, record_name="arrays"))
    plain = _aggregate_plainly(expected, replies)
    server.inner.watch = partial(_check_received, expected)
    found = _outcome(server.strategy.aggregate_train, 3, replies)
    assert plain[1] is None
    _check_outcome(found, plain, is_whole=scene.setup.downlink is None)
    totals = server.strategy.communication.rounds[-1].totals("train")
    assert (totals.messages, totals.failures) == (len(NODES), 0)
