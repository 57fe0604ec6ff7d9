# SPDX-License-Identifier: Apache-2.0
"""What really happened at a node, noted beside the protocol and without its help.

The weights received and trained are seen by a mod of the test's own, next to the app; the update
in a packet is decoded from the state that the client itself had, before anything can happen to the
packet. So a testimony holds for what the server ought to decode, not for what it does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from flower.copies import name_of
from flower.inprocess_grid import Faults, Node
from flower.toy import Arrays, arrays_of, record_of
from flwr.app import Context, Message, MetricRecord, RecordDict
from numpy.typing import NDArray

from fl_deepcabac import Schema, inspect_packet
from fl_deepcabac.codec import decode_update
from fl_deepcabac.flower.records import parse_settings, parse_update, settings_of
from fl_deepcabac.flower.state import ClientSlots, Slot
from fl_deepcabac.stream import StreamState

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Testimony:
    """One train message as its node saw it."""

    node_id: int
    token: bytes
    packet: bytes
    # What travels up, the packet included.
    envelope: bytes
    digest_after: bytes
    received: Arrays
    update: Vector
    decoded: Arrays
    metrics: MetricRecord

    def weights(self) -> Arrays:
        """What the server should get from this node."""
        return {name: array + self.decoded[name] for name, array in self.received.items()}


class Witness(Faults):
    """Takes down a testimony of each train message that a node has answered with a packet.

    `mod` has to be the last in the list of mods.
    """

    def __init__(self) -> None:
        # By the id of the message; of the present round only.
        self.testimonies: dict[str, Testimony] = {}
        # What apps got to work with, by the id of the message.
        self.models_seen: dict[str, bytes] = {}
        self._seen: dict[int, tuple[Arrays, Arrays]] = {}
        self._messages: dict[int, Message] = {}
        self.states_before: dict[int, RecordDict] = {}

    def mod(
        self, msg: Message, context: Context, call_next: Callable[[Message, Context], Message]
    ) -> Message:
        [record] = msg.content.array_records.values()
        received = arrays_of(record)
        self.models_seen[msg.metadata.message_id] = name_of(received)
        reply = call_next(msg, context)
        for record in reply.content.array_records.values():
            self._seen[context.node_id] = received, arrays_of(record)
        return reply

    def before_training(self, node: Node, message: Message, server_round: int) -> Message | None:
        del server_round
        self._messages[node.node_id] = message
        # Records are replaced, never edited, so this copy stays what it is.
        self.states_before[node.node_id] = RecordDict({**node.context.state})
        return message

    def after_training(self, node: Node, reply: Message, server_round: int) -> Message | None:
        del server_round
        if reply.has_content():
            self.testimonies[reply.metadata.reply_to_message_id] = self._take_down(node, reply)
        return reply

    def _take_down(self, node: Node, reply: Message) -> Testimony:
        settings = settings_of(self._messages[node.node_id].content)
        update = parse_update(reply.content)
        parsed = settings and parse_settings(settings)
        assert parsed
        assert update is not None
        config, token = parsed
        received, trained = self._seen[node.node_id]
        schema = Schema.from_arrays(received)
        state = StreamState.fresh(schema, config.profile)
        if not inspect_packet(update.packet).is_fresh:
            slots = ClientSlots(self.states_before[node.node_id], node.context.run_id)
            slot = slots.find(token, schema, config.profile)
            assert slot is not None, "coded against a state that the client does not have"
            state = slot.state
        decoded = decode_update(update.packet, schema=schema, state=state)
        return Testimony(
            node_id=node.node_id,
            token=token,
            packet=update.packet,
            envelope=update.envelope,
            digest_after=decoded.state.digest,
            received=received,
            update=flatten({name: trained[name] - received[name] for name in received}),
            decoded={name: np.asarray(array) for name, array in decoded.update.items()},
            metrics=reply.content.metric_records["metrics"],
        )


def reply_with(message: Message, weights: Arrays, metrics: MetricRecord) -> Message:
    """Return the reply of a node that does not compress."""
    content = RecordDict({"arrays": record_of(weights), "metrics": metrics})
    return Message(content, reply_to=message)


def find_slot(node: Node, digest: bytes, schema: Schema) -> Slot | None:
    """Return a client's slot, by the digest of its state."""
    return ClientSlots(node.context.state, node.context.run_id).find(digest, schema, "fast")


def flatten(arrays: dict[str, NDArray[Any]]) -> Vector:
    """Lay all weights end to end, for sums that do not round."""
    return np.concatenate([array.astype(np.float64).ravel() for array in arrays.values()])
