# SPDX-License-Identifier: Apache-2.0
"""Faults by plan: what befalls each train message of a round.

Invariant: `injected` holds what has really been done, because some faults need something to be done
with, a second packet or an older one, and come to nothing if there is none.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from flower.down_faults import DownFaults, flip_a_bit
from flower.fault_kinds import DOWN_KINDS, NEED_A_MODEL, Kind
from flower.inprocess_grid import Node, superlink_error
from flower.witness import Witness
from flwr.app import Array, ArrayRecord, Context, Message

from fl_deepcabac.flower import deepcabac_mod
from fl_deepcabac.flower.model_copy import NEEDS_KEYFRAME
from fl_deepcabac.flower.records import PACKET_KEY, PACKET_STYPE

# Flower's error codes.
NODE_UNAVAILABLE, CLIENT_APP_CRASHED = 5, 8
# Old envelopes of a node kept for replays.
N_OLD_ENVELOPES = 8
# Rounds after its own in which a late reply arrives.
MAX_LATENESS = 3


class PlannedFaults(Witness):
    """Does to each node's message what `begin_round` was told.

    Parameters
    ----------
    rng : Random
        Picks bits, cuts and old envelopes.
    """

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.plan: dict[int, Kind] = {}
        self.injected: dict[int, Kind] = {}
        self.counts: Counter[str] = Counter()
        # By node: messages as they arrived, and which of them brought no model.
        self.arrived: dict[int, Message] = {}
        self.without_model: set[int] = set()
        self.down = DownFaults(rng)
        self._rng = rng
        # Late replies by the rounds that they still have to wait.
        self._late: list[tuple[int, Message]] = []
        self._extra: list[Message] = []
        self._old_envelopes: dict[int, list[bytes]] = {}

    @property
    def mods(self) -> tuple[Any, ...]:
        """The client's mods: the real one between two that raise when told to."""
        after = self._raising(Kind.RAISES_KEPT, Kind.RAISES_ROLLED_BACK)
        return after, deepcabac_mod, self.mod, self._raising(Kind.RAISES)

    def _raising(self, *kinds: Kind) -> Any:
        def mod(
            msg: Message, context: Context, call_next: Callable[[Message, Context], Message]
        ) -> Message:
            reply = call_next(msg, context)
            is_train = msg.metadata.message_type == "train"
            if is_train and self.injected[context.node_id] in kinds:
                raise FloatingPointError("diverged")
            return reply

        return mod

    def begin_round(self, plan: dict[int, Kind]) -> None:
        """Forget the last round."""
        self.plan, self.injected = plan, {}
        self.testimonies.clear()
        self.models_seen.clear()
        self.arrived.clear()
        self.without_model.clear()
        self._extra = [reply for n_rounds, reply in self._late if n_rounds == 0]
        self._late = [(n_rounds - 1, reply) for n_rounds, reply in self._late if n_rounds]

    def before_training(self, node: Node, message: Message, server_round: int) -> Message | None:
        super().before_training(node, message, server_round)
        kind = self.plan.get(node.node_id, Kind.NONE)
        if kind in DOWN_KINDS and not self.down.befall(message, kind):
            kind = Kind.NONE
        self._note(node.node_id, kind)
        node.rolls_back = kind is Kind.RAISES_ROLLED_BACK
        if kind is Kind.DIES:
            node.forget()
            self._extra.append(superlink_error(message, NODE_UNAVAILABLE, "Node Unavailable"))
        elif kind is Kind.SILENT:
            self._extra.append(superlink_error(message, CLIENT_APP_CRASHED, "ClientApp crashed"))
        if kind in {Kind.LOST_DOWN, Kind.DIES, Kind.SILENT}:
            return None
        self.arrived[node.node_id] = message
        return message

    def after_training(self, node: Node, reply: Message, server_round: int) -> Message | None:
        super().after_training(node, reply, server_round)
        kind = self.injected[node.node_id]
        if reply.has_error() and NEEDS_KEYFRAME in (reply.error.reason or ""):
            self.without_model.add(node.node_id)
            if kind in NEED_A_MODEL:
                self._note(node.node_id, Kind.NONE)
        if kind is Kind.KILLED:
            node.context.state = self.states_before[node.node_id]
        elif kind is Kind.LATE:
            self._late.append((self._rng.randrange(MAX_LATENESS), reply))
        elif kind is Kind.DUPLICATE:
            self._extra.append(reply)
        return None if kind in {Kind.LOST_UP, Kind.LATE} else reply

    def arriving(self, replies: list[Message]) -> list[Message]:
        if any(reply.metadata.message_type == "evaluate" for reply in replies):
            return replies
        arrived = {self._testimony_of(reply): reply for reply in replies if reply.has_content()}
        for (node_id, message_id), reply in list(arrived.items()):
            # The plan, because a swap already made has entered its partner too.
            kind = self.plan.get(node_id)
            if kind in {Kind.BIT_FLIP, Kind.TRUNCATION, Kind.REPLAY}:
                self._damage(node_id, message_id, reply)
            elif kind is Kind.SWAP:
                self._swap((node_id, message_id), arrived)
        for testimony in self.testimonies.values():
            old = self._old_envelopes.setdefault(testimony.node_id, [])
            old.append(testimony.envelope)
            del old[:-N_OLD_ENVELOPES]
        return replies + self._extra

    def _note(self, node_id: int, kind: Kind) -> None:
        """Enter what a node's message has met with, in place of what was meant."""
        if node_id in self.injected:
            self.counts[self.injected[node_id]] -= 1
        self.injected[node_id] = kind
        self.counts[kind] += 1

    @property
    def n_faults(self) -> int:
        return self.counts.total() - self.counts[Kind.NONE]

    def _testimony_of(self, reply: Message) -> tuple[int, str]:
        message_id = reply.metadata.reply_to_message_id
        return self.testimonies[message_id].node_id, message_id

    def _damage(self, node_id: int, message_id: str, reply: Message) -> None:
        """Put another envelope into a reply, by what was injected."""
        envelope, kind = self.testimonies[message_id].envelope, self.injected[node_id]
        if kind is Kind.BIT_FLIP:
            put_envelope(reply, flip_a_bit(envelope, self._rng))
        elif kind is Kind.TRUNCATION:
            put_envelope(reply, envelope[: self._rng.randrange(len(envelope))])
        elif old := self._old_envelopes.get(node_id):
            put_envelope(reply, self._rng.choice(old))
        else:
            self._note(node_id, Kind.NONE)

    def _swap(self, key: tuple[int, str], arrived: dict[tuple[int, str], Message]) -> None:
        """Exchange the envelopes of a reply and of the next one that nothing has befallen."""
        for other_key, other_reply in arrived.items():
            if self.injected[other_key[0]] is Kind.NONE:
                put_envelope(arrived[key], self.testimonies[other_key[1]].envelope)
                put_envelope(other_reply, self.testimonies[key[1]].envelope)
                self._note(other_key[0], Kind.SWAP)
                return
        self._note(key[0], Kind.NONE)


def put_envelope(reply: Message, envelope: bytes) -> None:
    """Replace the envelope in a reply."""
    [name] = reply.content.array_records
    array = Array("uint8", (len(envelope),), PACKET_STYPE, envelope)
    reply.content[name] = ArrayRecord({PACKET_KEY: array})
