# SPDX-License-Identifier: Apache-2.0
"""Faults by plan: what befalls each train message of a round, and what must come of it.

`OUTCOMES` is the table of docs/protocol.md as data. Invariant: `injected` holds what has really
been done, because some faults need a second packet, or an older one, and do without if there is
none.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, Literal, NamedTuple

from flower.inprocess_grid import Node, superlink_error
from flower.witness import Witness, is_plausible
from flwr.app import Array, ArrayRecord, Context, Message

from fl_deepcabac.flower import deepcabac_mod
from fl_deepcabac.flower.records import ENCODE_TIME_BYTES, PACKET_STYPE

# Flower's error codes.
NODE_UNAVAILABLE, CLIENT_APP_CRASHED = 5, 8
# Old packets of a node kept for replays.
N_OLD_PACKETS = 8
# Rounds after its own in which a late reply arrives.
MAX_LATENESS = 3


class Kind(StrEnum):
    """What can go wrong with one train message and its reply."""

    NONE = "nothing"
    LOST_DOWN = "message lost"  # or its task never started
    LOST_UP = "reply lost"  # or its upload failed, or an HTTP response got lost
    LATE = "reply late"
    DUPLICATE = "reply twice"
    RAISES = "app raises"
    RAISES_ROLLED_BACK = "raises after commit, rolled back"
    RAISES_KEPT = "raises after commit, kept"
    KILLED = "killed between reply and state"
    SILENT = "ClientApp silent"
    DIES = "SuperNode dies"
    BIT_FLIP = "packet with a flipped bit"
    TRUNCATION = "packet cut short"
    SWAP = "packets of two nodes swapped"
    REPLAY = "older packet of the node"


class Outcome(NamedTuple):
    """What the fault leaves: the client's slots, and whether the server can use the reply."""

    slots: Literal["kept", "committed", "forgotten"]
    is_usable: bool


OUTCOMES: Final = {
    Kind.NONE: Outcome("committed", True),
    Kind.LOST_DOWN: Outcome("kept", False),
    Kind.LOST_UP: Outcome("committed", False),
    Kind.LATE: Outcome("committed", False),
    Kind.DUPLICATE: Outcome("committed", True),
    Kind.RAISES: Outcome("kept", False),
    Kind.RAISES_ROLLED_BACK: Outcome("kept", False),
    Kind.RAISES_KEPT: Outcome("committed", False),
    Kind.KILLED: Outcome("kept", True),
    Kind.SILENT: Outcome("kept", False),
    Kind.DIES: Outcome("forgotten", False),
    Kind.BIT_FLIP: Outcome("committed", False),
    Kind.TRUNCATION: Outcome("committed", False),
    Kind.SWAP: Outcome("committed", False),
    Kind.REPLAY: Outcome("committed", False),
}
# Every kind that goes wrong.
KINDS: Final[tuple[Kind, ...]] = tuple(kind for kind in Kind if kind is not Kind.NONE)


class PlannedFaults(Witness):
    """Does to each node's message what `begin_round` was told.

    Parameters
    ----------
    rng : Random
        Picks bits, cuts and old packets.
    substitutes_plausible : bool
        Whether swaps and replays may put in a packet that says nothing against itself; see
        docs/protocol.md section 7.
    """

    def __init__(self, rng: random.Random, *, substitutes_plausible: bool = False) -> None:
        super().__init__()
        self.plan: dict[int, Kind] = {}
        self.injected: dict[int, Kind] = {}
        self.counts: Counter[str] = Counter()
        self._rng = rng
        self._substitutes_plausible = substitutes_plausible
        # Late replies by the rounds that they still have to wait.
        self._late: list[tuple[int, Message]] = []
        self._extra: list[Message] = []
        self._old_packets: dict[int, list[bytes]] = {}

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
            if self.injected[context.node_id] in kinds:
                raise FloatingPointError("diverged")
            return reply

        return mod

    def begin_round(self, plan: dict[int, Kind]) -> None:
        """Forget the last round."""
        self.plan, self.injected = plan, {}
        self.testimonies.clear()
        self._extra = [reply for n_rounds, reply in self._late if n_rounds == 0]
        self._late = [(n_rounds - 1, reply) for n_rounds, reply in self._late if n_rounds]

    def before_training(self, node: Node, message: Message, server_round: int) -> Message | None:
        super().before_training(node, message, server_round)
        kind = self.plan.get(node.node_id, Kind.NONE)
        self._note(node.node_id, kind)
        node.rolls_back = kind is Kind.RAISES_ROLLED_BACK
        if kind is Kind.DIES:
            node.forget()
            self._extra.append(superlink_error(message, NODE_UNAVAILABLE, "Node Unavailable"))
        elif kind is Kind.SILENT:
            self._extra.append(superlink_error(message, CLIENT_APP_CRASHED, "ClientApp crashed"))
        return None if kind in {Kind.LOST_DOWN, Kind.DIES, Kind.SILENT} else message

    def after_training(self, node: Node, reply: Message, server_round: int) -> Message | None:
        super().after_training(node, reply, server_round)
        kind = self.injected[node.node_id]
        if kind is Kind.KILLED:
            node.context.state = self.states_before[node.node_id]
        elif kind is Kind.LATE:
            self._late.append((self._rng.randrange(MAX_LATENESS), reply))
        elif kind is Kind.DUPLICATE:
            self._extra.append(reply)
        return None if kind in {Kind.LOST_UP, Kind.LATE} else reply

    def arriving(self, replies: list[Message]) -> list[Message]:
        arrived = {self._testimony_of(reply): reply for reply in replies if reply.has_content()}
        for (node_id, message_id), reply in list(arrived.items()):
            # The plan, because a swap already made has entered its partner too.
            kind = self.plan.get(node_id)
            if kind in {Kind.BIT_FLIP, Kind.TRUNCATION, Kind.REPLAY}:
                self._damage(node_id, message_id, reply)
            elif kind is Kind.SWAP:
                self._swap((node_id, message_id), arrived)
        for testimony in self.testimonies.values():
            old = self._old_packets.setdefault(testimony.node_id, [])
            old.append(testimony.packet)
            del old[:-N_OLD_PACKETS]
        return replies + self._extra

    def _note(self, node_id: int, kind: Kind) -> None:
        """Enter what a node's message has met with, in place of what was meant."""
        if node_id in self.injected:
            self.counts[self.injected[node_id]] -= 1
        self.injected[node_id] = kind
        self.counts[kind] += 1

    @property
    def n_faults(self) -> int:
        return sum(self.counts[kind] for kind in KINDS)

    def _testimony_of(self, reply: Message) -> tuple[int, str]:
        message_id = reply.metadata.reply_to_message_id
        return self.testimonies[message_id].node_id, message_id

    def _damage(self, node_id: int, message_id: str, reply: Message) -> None:
        """Put another packet into a reply, by what was injected."""
        testimony, kind = self.testimonies[message_id], self.injected[node_id]
        packet = testimony.packet
        if kind is Kind.BIT_FLIP:
            place = self._rng.randrange(8 * len(packet))
            flipped = int.from_bytes(packet, "little") ^ 1 << place
            substitute = flipped.to_bytes(len(packet), "little")
        elif kind is Kind.TRUNCATION:
            substitute = packet[: self._rng.randrange(len(packet))]
        else:
            old = self._old_packets.get(node_id, [])
            candidates = [one for one in old if self._may_substitute(one, testimony.token)]
            if not candidates:
                self._note(node_id, Kind.NONE)
                return
            substitute = self._rng.choice(candidates)
        put_packet(reply, substitute)

    def _swap(self, key: tuple[int, str], arrived: dict[tuple[int, str], Message]) -> None:
        """Exchange the packets of a reply and of the next one that nothing has befallen."""
        own = self.testimonies[key[1]]
        for other_key, other_reply in arrived.items():
            other = self.testimonies[other_key[1]]
            if (
                self.injected[other_key[0]] is Kind.NONE
                and self._may_substitute(own.packet, other.token)
                and self._may_substitute(other.packet, own.token)
            ):
                put_packet(arrived[key], other.packet)
                put_packet(other_reply, own.packet)
                self._note(other_key[0], Kind.SWAP)
                return
        self._note(key[0], Kind.NONE)

    def _may_substitute(self, packet: bytes, token: bytes) -> bool:
        return self._substitutes_plausible or not is_plausible(packet, token)


def put_packet(reply: Message, packet: bytes) -> None:
    """Replace the packet in a reply; the rest of the envelope stays."""
    [(name, record)] = reply.content.array_records.items()
    [(key, array)] = record.items()
    data = array.data[:ENCODE_TIME_BYTES] + packet
    reply.content[name] = ArrayRecord({key: Array("uint8", (len(data),), PACKET_STYPE, data)})
