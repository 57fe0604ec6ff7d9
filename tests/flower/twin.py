# SPDX-License-Identifier: Apache-2.0
"""A compressed run beside two models of it: an uncompressed twin and the protocol in the abstract.

The twin is the plain strategy, fed the updates that clients say they have sent. The abstract
protocol (`Stream`) knows states as numbers, so it cannot share a mistake with digests and slots.
Invariant: `violations` is empty as long as the run agrees with both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from flower.inprocess_grid import InProcessGrid
from flower.planned_faults import OUTCOMES, Kind, Outcome, PlannedFaults
from flower.toy import Arrays, arrays_of, make_app, record_of
from flower.witness import Testimony, Vector, find_slot, flatten, reply_with
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp.strategy import FedAvg

from fl_deepcabac import CodecConfig, Schema
from fl_deepcabac.flower import DeepCABACStrategy
from fl_deepcabac.flower.records import FRESH_TOKEN, parse_settings, settings_of

CONFIG = CodecConfig(relative_step=1.0)
# Two models of some 40 weights, of which a run may change from one to the other.
MODELS = ({"w": (6, 5), "b": (8,)}, {"w": (6, 5), "b": (3,), "v": (2, 2)})
# Updates are near 1 and steps too: a residual lost is 10^5 times larger than what float32 rounds.
RESIDUAL_TOLERANCE = 1e-5

State = tuple[int, int]  # number of the model, number of the packet


@dataclass
class Stream:
    """One node in the protocol's own terms; sums run over packets since the last fresh one."""

    held: State | None = None
    slots: set[State] = field(default_factory=set)
    update_sum: Vector | float = 0.0
    decoded_sum: Vector | float = 0.0
    # Messages answered without a fault, in a row.
    n_clean: int = 0

    def named(self, model: int) -> State | None:
        """The state that the server names in a message about `model`."""
        return self.held if self.held and self.held[0] == model else None


class Averages(FedAvg):
    """FedAvg that keeps what it made of the last replies."""

    aggregate: ArrayRecord | None = None

    def __init__(self) -> None:
        super().__init__(min_available_nodes=1, min_train_nodes=1, fraction_evaluate=0.0)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        self.aggregate, metrics = super().aggregate_train(server_round, replies)
        return self.aggregate, metrics


def train_freely(weights: Arrays, rng: np.random.Generator) -> Arrays:
    """Move weights by amounts that no step divides."""
    return {
        name: (array + rng.normal(0, 1, array.shape)).astype(array.dtype)
        for name, array in weights.items()
    }


class Twins:
    """A server, its nodes, and what should become of them.

    Parameters
    ----------
    n_nodes : int
    faults : PlannedFaults
    seed : int
        Of the order in which replies arrive.
    """

    def __init__(self, n_nodes: int, faults: PlannedFaults, *, seed: int = 0) -> None:
        self.faults = faults
        self.grid = InProcessGrid([], faults=faults, seed=seed)
        self.streams: dict[int, Stream] = {}
        self.violations: list[str] = []
        self.n_aggregates = self.n_warm = self.n_fresh = 0
        self.max_residual_error = 0.0
        self.max_protocol_bytes = 0
        self.server_round = 0
        self._digests: dict[State, bytes] = {}
        self._numbers = count()
        for _ in range(n_nodes):
            self.add_node()
        self.model = 0
        self.change_model(0)
        self.restart_server()

    # What may happen between rounds.

    def add_node(self) -> None:
        node = self.grid.add_node(make_app(mods=self.faults.mods, train=train_freely))
        self.streams[node.node_id] = Stream()

    def remove_node(self, node_id: int) -> None:
        """Let a node go for good."""
        del self.grid.nodes[node_id], self.streams[node_id]

    def forget(self, node_id: int) -> None:
        """Give a node amnesia under its old id."""
        self.grid.nodes[node_id].forget()
        self.streams[node_id].slots.clear()
        self.streams[node_id].n_clean = 0

    def restart_server(self) -> None:
        """Replace the server by one that knows nothing but the weights."""
        self.inner = Averages()
        self.strategy = DeepCABACStrategy(self.inner, CONFIG)
        for stream in self.streams.values():
            stream.held = None
            stream.n_clean = 0

    def change_model(self, model: int) -> None:
        """Go on with other weights, of another schema if the number is another."""
        if model != self.model:
            for stream in self.streams.values():
                stream.n_clean = 0
        self.model = model
        shapes = MODELS[model].items()
        arrays = {name: np.ones(shape, np.float32) for name, shape in shapes}
        self.weights, self.schema = record_of(arrays), Schema.from_arrays(arrays)

    # Rounds.

    def play_round(self, plan: dict[int, Kind], *, restarts_midway: bool = False) -> None:
        """Play one round in which `plan` befalls the messages, and check all there is to check."""
        self.server_round += 1
        self.faults.begin_round(plan)
        sent = list(
            self.strategy.configure_train(
                self.server_round, self.weights, ConfigRecord(), self.grid
            )
        )
        for message in sent:
            self._check_token(message)
        replies = list(self.grid.send_and_receive(sent))
        if restarts_midway:
            self.restart_server()
        arrays, _ = self.strategy.aggregate_train(self.server_round, replies)
        order = list(dict.fromkeys(reply.metadata.reply_to_message_id for reply in replies))
        usable = [] if restarts_midway else self._usable(order)
        self._check_aggregate(sent, usable)
        self._advance(sent, can_use=not restarts_midway)
        self.check_slots()
        self.grid.exchanges.clear()
        self.weights = self.weights if arrays is None else arrays

    def _usable(self, order: list[str]) -> list[str]:
        """Pick the replies that the server must be able to use, in the order they arrived."""
        testimonies = self.faults.testimonies
        return [
            message_id
            for message_id in order
            if message_id in testimonies
            and OUTCOMES[self.faults.injected[testimonies[message_id].node_id]].is_usable
        ]

    def _check_token(self, message: Message) -> None:
        """The server names what it holds, by the book; and that costs eight bytes."""
        settings = settings_of(message.content)
        parsed = settings and parse_settings(settings)
        assert parsed
        named = self.streams[message.metadata.dst_node_id].named(self.model)
        expected = FRESH_TOKEN if named is None else self._digests[named]
        self._expect(parsed[1] == expected, f"token of node {message.metadata.dst_node_id}")

    def _check_aggregate(self, sent: list[Message], usable: list[str]) -> None:
        """What the strategy has made of the packets, the plain one makes of the updates."""
        messages = {message.metadata.message_id: message for message in sent}
        told = [
            (messages[message_id], self.faults.testimonies[message_id]) for message_id in usable
        ]
        replies = [reply_with(message, one.weights(), one.metrics) for message, one in told]
        expected, _ = Averages().aggregate_train(self.server_round, replies)
        aggregate = self.inner.aggregate
        self.n_aggregates += 1
        equal = (aggregate is None) == (expected is None)
        if aggregate is not None and expected is not None:
            found, wanted = arrays_of(aggregate), arrays_of(expected)
            equal = all(np.array_equal(found[name], wanted[name]) for name in wanted)
        self._expect(equal, "aggregate")

    def _advance(self, sent: list[Message], *, can_use: bool) -> None:
        """Move the abstract protocol on and compare it with the ledger."""
        transfers = self.strategy.communication.rounds[-1].transfers
        # Rows of the round's own messages come first.
        codings = {row.node_id: row.coding for row in reversed(transfers)}
        for message in sent:
            node_id = message.metadata.dst_node_id
            kind = self.faults.injected[node_id]
            outcome = OUTCOMES[kind]._replace(is_usable=OUTCOMES[kind].is_usable and can_use)
            testimony = self.faults.testimonies.get(message.metadata.message_id)
            expected = self._advance_one(self.streams[node_id], outcome, testimony)
            coding = codings.get(node_id, "none")
            self._expect(coding == expected, f"{kind}: node {node_id} {coding}, not {expected}")
            self.n_warm += coding == "warm"
            self.n_fresh += coding == "fresh"
            self._check_healing(self.streams[node_id], kind, coding)

    def _advance_one(self, stream: Stream, outcome: Outcome, testimony: Testimony | None) -> str:
        """Move one stream on; return how its packet must have been coded."""
        named = stream.named(self.model)
        base = named if named in stream.slots else None
        after = (self.model, next(self._numbers))
        if outcome.slots == "committed":
            stream.slots = {after} if base is None else {base, after}
        elif outcome.slots == "forgotten":
            stream.slots = set()
        if testimony is not None:
            self._digests[after] = testimony.digest_after
            n_bytes = len(testimony.token) + testimony.envelope_bytes - len(testimony.packet)
            self.max_protocol_bytes = max(self.max_protocol_bytes, n_bytes)
        if not outcome.is_usable:
            return "none"
        if testimony is None:
            return "a packet"
        stream.held = after
        if base is None:
            stream.update_sum = stream.decoded_sum = 0.0
        stream.update_sum = stream.update_sum + testimony.update
        stream.decoded_sum = stream.decoded_sum + flatten(testimony.decoded)
        return "fresh" if base is None else "warm"

    def _check_healing(self, stream: Stream, kind: Kind, coding: str) -> None:
        """After a fault the next update is usable, and the one after that warm."""
        if kind not in {Kind.NONE, Kind.DUPLICATE} or coding == "none":
            stream.n_clean = 0
            return
        self._expect(stream.n_clean == 0 or coding == "warm", "healing")
        stream.n_clean += 1

    def check_slots(self) -> None:
        """What a client can serve, and what it has left out of the updates it sent."""
        for node_id, stream in self.streams.items():
            if (held := stream.named(self.model)) is None:
                continue
            slot = find_slot(self.grid.nodes[node_id], self._digests[held], self.schema)
            served = held in stream.slots
            self._expect((slot is not None) == served, f"slots of node {node_id}")
            if slot is None or not served:
                continue
            left_out = stream.update_sum - stream.decoded_sum
            error = float(np.abs(flatten(slot.residual) - left_out).max())
            self.max_residual_error = max(self.max_residual_error, error)
            self._expect(error < RESIDUAL_TOLERANCE, f"residual of node {node_id}: {error}")

    def _expect(self, condition: bool, what: str) -> None:
        if not condition:
            self.violations.append(f"round {self.server_round}: {what}")
