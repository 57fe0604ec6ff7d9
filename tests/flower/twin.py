# SPDX-License-Identifier: Apache-2.0
"""A compressed run beside two models of it: an uncompressed twin and the protocol in the abstract.

The twin is the plain strategy, fed the updates that clients say they have sent. The abstract
protocol (`Stream`, and `Copies` for the way down) knows states as numbers, so it cannot share a
mistake with digests and slots. Invariant: `violations` is empty as long as the run agrees with
both.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path

import numpy as np
from flower.averages import Averages, train_freely
from flower.copies import Copies, name_of
from flower.fault_kinds import Kind, outcome_of
from flower.inprocess_grid import InProcessGrid
from flower.planned_faults import PlannedFaults
from flower.saved_server import SavedServer
from flower.streams import State, Stream
from flower.toy import Arrays, arrays_of, make_app, record_of
from flower.witness import Testimony, find_slot, flatten, reply_with
from flwr.app import ArrayRecord, ConfigRecord, Message

from fl_deepcabac import CodecConfig, Schema
from fl_deepcabac.flower import DeepCABACStrategy, DownlinkConfig
from fl_deepcabac.flower.model_copy import COPY_PREFIX
from fl_deepcabac.flower.records import FRESH_TOKEN, parse_settings, settings_of

CONFIG = CodecConfig(relative_step=1.0)
# Two models of some 40 weights, of which a run may change from one to the other.
MODELS = ({"w": (6, 5), "b": (8,)}, {"w": (6, 5), "b": (3,), "v": (2, 2)})
# Updates are near 1 and steps too: a residual lost is 10^5 times larger than what float32 rounds.
RESIDUAL_TOLERANCE = 1e-5


class Twins:
    """A server, its nodes, and what should become of them.

    Parameters
    ----------
    n_nodes : int
    faults : PlannedFaults
    seed : int
        Of the order in which replies arrive.
    downlink : DownlinkConfig, optional
        How models travel down; as they are if not given.
    """

    def __init__(
        self,
        n_nodes: int,
        faults: PlannedFaults,
        *,
        seed: int = 0,
        downlink: DownlinkConfig | None = None,
    ) -> None:
        self.faults = faults
        self.downlink = downlink
        self.copies = Copies()
        self.grid = InProcessGrid([], faults=faults, seed=seed)
        self.streams: dict[int, Stream] = {}
        self.violations: list[str] = []
        self.n_aggregates = self.n_warm = self.n_fresh = 0
        self.n_models_seen = self.n_without_model = 0
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
        self.copies.held.pop(node_id, None)

    def forget(self, node_id: int) -> None:
        """Give a node amnesia under its old id."""
        self.grid.nodes[node_id].forget()
        self.streams[node_id].slots.clear()
        self.streams[node_id].n_clean = 0
        self.copies.held.pop(node_id, None)

    def forget_copy(self, node_id: int) -> None:
        """Let a node lose its copy of the model and nothing else."""
        state = self.grid.nodes[node_id].context.state
        for name in [name for name in state if name.startswith(COPY_PREFIX)]:
            del state[name]
        self.copies.held.pop(node_id, None)

    def restart_server(self) -> None:
        """Replace the server by one that knows nothing but the weights."""
        self.inner = Averages()
        self.strategy = DeepCABACStrategy(self.inner, CONFIG, downlink=self.downlink)
        self._rounds_before = 0
        # Of which model the server knows weights.
        self._known_model: int | None = None
        self.copies.known.clear()
        for stream in self.streams.values():
            stream.held = None
            stream.n_clean = 0

    @property
    def can_save(self) -> bool:
        """Whether there is a model to save."""
        return self._known_model is not None

    def save_server(self, path: Path) -> None:
        """Save a checkpoint."""
        assert self._known_model is not None
        self.strategy.save(path)
        self._saved = SavedServer.of(self._known_model, self.streams, self.copies)

    def go_on_from(self, path: Path) -> None:
        """Replace the server by one that knows what was saved; nodes are ahead of it."""
        self.restart_server()
        checkpoint = self.strategy.load(path)
        self.change_model(self._saved.model)
        self.weights = checkpoint.arrays
        self._rounds_before = checkpoint.server_round
        self._known_model = self._saved.model
        self._saved.restore(self.streams, self.copies)

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
        sent = list(self.strategy.configure_train(*self._arguments()))
        for message in sent:
            self._check_token(message)
        for stream in self.streams.values():
            stream.asked = stream.named(self.model)
        self._check_models(sent)
        replies = list(self.grid.send_and_receive(sent))
        if restarts_midway:
            self.restart_server()
        arrays, _ = self.strategy.aggregate_train(self._flower_round, replies)
        order = list(dict.fromkeys(reply.metadata.reply_to_message_id for reply in replies))
        usable = [] if restarts_midway else self._usable(order)
        self._check_models_seen()
        self._check_aggregate(sent, usable, arrays)
        self._advance(sent, can_use=not restarts_midway)
        self.check_slots()
        self.grid.exchanges.clear()
        self.weights = self.weights if arrays is None else arrays

    def evaluate(self) -> None:
        """Evaluate the model, and check who gets to see it; nothing befalls these messages."""
        for node in self.grid.nodes.values():
            node.rolls_back = False
        self.faults.models_seen.clear()
        sent = list(self.strategy.configure_evaluate(*self._arguments()))
        self._check_models(sent)
        replies = list(self.grid.send_and_receive(sent))
        self.strategy.aggregate_evaluate(self._flower_round, replies)
        self._check_models_seen()
        have_it = {reply.metadata.src_node_id for reply in replies if reply.has_content()}
        for message in sent:
            node_id = message.metadata.dst_node_id
            has_model = self._receive(message, is_undone=False)
            self.copies.hear(node_id, "has it" if has_model else "lacks it")
            self._expect(has_model == (node_id in have_it), f"evaluation of node {node_id}")
        self.check_slots()
        self.grid.exchanges.clear()

    @property
    def _flower_round(self) -> int:
        """The round as Flower counts: from 1 after a checkpoint."""
        return self.server_round - self._rounds_before

    def _arguments(self) -> tuple[int, ArrayRecord, ConfigRecord, InProcessGrid]:
        self._known_model = self.model
        return self._flower_round, self.weights, ConfigRecord(), self.grid

    def _check_models(self, sent: list[Message]) -> None:
        """Each node is sent what it needs, by what the server knows of it."""
        self.model_sent = arrays_of(self.inner.sent)
        if self.downlink is not None:
            for violation in self.copies.begin(name_of(self.model_sent), sent):
                self._expect(False, violation)
            self.faults.down.begin(sent)

    def _check_models_seen(self) -> None:
        """No app has got to work with another model than the inner strategy has sent."""
        expected = name_of(self.model_sent)
        for name in self.faults.models_seen.values():
            self._expect(name == expected, "a node works with another model")
            self.n_models_seen += 1

    def _receive(self, message: Message, *, is_undone: bool) -> bool:
        return self.downlink is None or self.copies.receive(message, is_undone=is_undone)

    def _usable(self, order: list[str]) -> list[str]:
        """Pick the replies that the server must be able to use, in the order they arrived."""
        testimonies = self.faults.testimonies
        return [
            message_id
            for message_id in order
            if message_id in testimonies
            and outcome_of(self.faults.injected[testimonies[message_id].node_id]).is_usable
        ]

    def _check_token(self, message: Message) -> None:
        """The server names what it holds, by the book; and that costs eight bytes."""
        settings = settings_of(message.content)
        parsed = settings and parse_settings(settings)
        assert parsed
        named = self.streams[message.metadata.dst_node_id].named(self.model)
        expected = FRESH_TOKEN if named is None else self._digests[named]
        self._expect(parsed[1] == expected, f"token of node {message.metadata.dst_node_id}")

    def _check_aggregate(
        self, sent: list[Message], usable: list[str], returned: ArrayRecord | None
    ) -> None:
        """What the strategy has made of the packets, the plain one makes of the updates.

        With a compressed way down, it makes them of the broadcast model: what that lacked of the
        global one must be in the new global one.
        """
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
            if returned is not None:
                self._check_returned(arrays_of(returned), wanted)
        self._expect(equal, "aggregate")

    def _check_returned(self, returned: Arrays, aggregate: Arrays) -> None:
        weights = arrays_of(self.weights)
        equal = all(
            np.array_equal(returned[name], array + (weights[name] - self.model_sent[name]))
            for name, array in aggregate.items()
        )
        self._expect(equal, "what was left out on the way down")

    def _advance(self, sent: list[Message], *, can_use: bool) -> None:
        """Move the abstract protocol on and compare it with the ledger."""
        transfers = self.strategy.communication.rounds[-1].transfers
        # Rows of the round's own messages come first.
        codings = {row.node_id: row.coding for row in reversed(transfers)}
        for message in sent:
            node_id = message.metadata.dst_node_id
            kind = self.faults.injected[node_id]
            outcome = outcome_of(kind, has_model=self._has_model(node_id, kind))
            if can_use:
                self.copies.hear(node_id, outcome.heard)
            outcome = outcome._replace(is_usable=outcome.is_usable and can_use)
            testimony = self.faults.testimonies.get(message.metadata.message_id)
            after = self._number(testimony)
            expected = self.streams[node_id].advance(outcome, after, testimony)
            coding = codings.get(node_id, "none")
            self._expect(coding == expected, f"{kind}: node {node_id} {coding}, not {expected}")
            self._expect(self.streams[node_id].heals(kind, coding), "healing")
            self.n_warm += coding == "warm"
            self.n_fresh += coding == "fresh"

    def _number(self, testimony: Testimony | None) -> State:
        """Number the state after a packet, if there is one."""
        after = self.model, next(self._numbers)
        if testimony is not None:
            self._digests[after] = testimony.digest_after
            n_bytes = len(testimony.token) + len(testimony.envelope) - len(testimony.packet)
            self.max_protocol_bytes = max(self.max_protocol_bytes, n_bytes)
        return after

    def _has_model(self, node_id: int, kind: Kind) -> bool:
        """Whether a node can have the model of its message, which must be so if one arrived."""
        if kind is Kind.DIES:
            self.copies.held.pop(node_id, None)
        if (message := self.faults.arrived.get(node_id)) is None:
            return True
        is_undone = kind is Kind.KILLED or self.grid.nodes[node_id].rolls_back
        has_model = self._receive(message, is_undone=is_undone)
        lacks_it = node_id in self.faults.without_model
        self.n_without_model += lacks_it
        self._expect(has_model != lacks_it, f"{kind}: node {node_id} without model: {lacks_it}")
        return has_model

    def check_slots(self) -> None:
        """What a client can serve, and what it has left out of the updates it sent."""
        for violation in self.copies.check(self.grid.nodes.values()):
            self._expect(False, violation)
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
