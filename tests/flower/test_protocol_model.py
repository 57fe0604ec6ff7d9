# SPDX-License-Identifier: Apache-2.0
"""The state protocol (docs/protocol.md) as a state machine, explored by Hypothesis.

The real mod and the real strategy play, in half of the cases with a compressed way down; `twin`
holds the model that they must agree with after every step, whatever is lost, late, doubled, damaged
or forgotten, in whatever order. When this fails, Hypothesis prints the shortest sequence of steps
that it found.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from flower.fault_kinds import DOWN_KINDS, KINDS, Kind
from flower.inprocess_grid import Node
from flower.planned_faults import PlannedFaults
from flower.toy import Arrays, arrays_of, record_of
from flower.twin import MODELS, Twins
from flwr.app import ArrayRecord, Message, RecordDict
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from strategies import examples

from fl_deepcabac import Schema
from fl_deepcabac.config import Profile
from fl_deepcabac.flower import DownlinkConfig, model_copy
from fl_deepcabac.flower.broadcast import Broadcast
from fl_deepcabac.flower.model_copy import ModelCopy
from fl_deepcabac.flower.model_sender import ModelSender
from fl_deepcabac.flower.node_copies import NodeCopies
from fl_deepcabac.flower.records import FRESH_TOKEN
from fl_deepcabac.flower.replies import Instruction
from fl_deepcabac.flower.state import ClientSlots, Slot

N_NODES = 3
# Which node a rule is about: a number taken modulo those there are.
ANY_NODE = st.integers(0, N_NODES - 1)
PLANS = st.lists(st.sampled_from(Kind), min_size=N_NODES, max_size=N_NODES)


class ProtocolMachine(RuleBasedStateMachine):
    """Rounds with any fault for any node, and what may happen between them."""

    twins: Twins

    @initialize(seed=st.integers(0, 2**16), is_down=st.booleans())
    def start(self, seed: int, is_down: bool) -> None:
        downlink = DownlinkConfig() if is_down else None
        faults = PlannedFaults(random.Random(seed))
        self.twins = Twins(N_NODES, faults, seed=seed, downlink=downlink)
        self._folder = tempfile.TemporaryDirectory()
        self.checkpoint = Path(self._folder.name) / "run.checkpoint"

    def teardown(self) -> None:
        if hasattr(self, "_folder"):
            self._folder.cleanup()

    def nodes(self, *, connected: bool) -> list[Node]:
        nodes = self.twins.grid.nodes.values()
        return [node for node in nodes if node.is_connected == connected]

    @rule()
    def quiet_round(self) -> None:
        self.twins.play_round({})

    @rule(which=ANY_NODE, kind=st.sampled_from(KINDS + DOWN_KINDS))
    def round_with_one_fault(self, which: int, kind: Kind) -> None:
        nodes = self.nodes(connected=True)
        self.twins.play_round({nodes[which % len(nodes)].node_id: kind})

    @rule(kinds=PLANS)
    def round_with_many_faults(self, kinds: list[Kind]) -> None:
        self.twins.play_round(self._plan(kinds))

    @rule(kinds=PLANS)
    def two_rounds_with_the_same_faults(self, kinds: list[Kind]) -> None:
        for _ in range(2):
            self.twins.play_round(self._plan(kinds))

    @rule(kinds=PLANS)
    def round_in_which_the_server_restarts(self, kinds: list[Kind]) -> None:
        self.twins.play_round(self._plan(kinds), restarts_midway=True)

    def _plan(self, kinds: list[Kind]) -> dict[int, Kind]:
        nodes = self.nodes(connected=True)
        return {node.node_id: kind for node, kind in zip(nodes, kinds, strict=False)}

    @rule(which=ANY_NODE)
    def node_forgets(self, which: int) -> None:
        ids = list(self.twins.grid.nodes)
        self.twins.forget(ids[which % len(ids)])

    @precondition(lambda self: self.twins.downlink)
    @rule(which=ANY_NODE)
    def node_loses_its_copy(self, which: int) -> None:
        ids = list(self.twins.grid.nodes)
        self.twins.forget_copy(ids[which % len(ids)])

    @precondition(lambda self: self.twins.downlink)
    @rule()
    def model_is_evaluated(self) -> None:
        self.twins.evaluate()

    @rule(which=ANY_NODE)
    def node_is_replaced(self, which: int) -> None:
        ids = list(self.twins.grid.nodes)
        self.twins.remove_node(ids[which % len(ids)])
        self.twins.add_node()

    @precondition(lambda self: len(self.nodes(connected=True)) > 1)
    @rule(which=ANY_NODE)
    def node_leaves(self, which: int) -> None:
        nodes = self.nodes(connected=True)
        nodes[which % len(nodes)].is_connected = False

    @precondition(lambda self: self.nodes(connected=False))
    @rule()
    def nodes_return(self) -> None:
        for node in self.nodes(connected=False):
            node.is_connected = True

    @rule()
    def server_restarts(self) -> None:
        self.twins.restart_server()

    @precondition(lambda self: self.twins.can_save)
    @rule()
    def server_is_saved(self) -> None:
        self.twins.save_server(self.checkpoint)

    @precondition(lambda self: self.checkpoint.exists())
    @rule()
    def server_goes_on_from_its_checkpoint(self) -> None:
        self.twins.go_on_from(self.checkpoint)

    @rule(model=st.integers(0, len(MODELS) - 1))
    def model_changes(self, model: int) -> None:
        self.twins.change_model(model)

    @invariant()
    def run_agrees_with_its_twins(self) -> None:
        self.twins.check_slots()
        assert self.twins.violations == []


def explore(n_examples: int, n_steps: int) -> None:
    run_state_machine_as_test(
        ProtocolMachine,
        settings=settings(examples(n_examples), stateful_step_count=n_steps),
    )


def test_run_agrees_with_its_twins_whatever_happens() -> None:
    explore(n_examples=12, n_steps=25)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_run_agrees_with_its_twins_in_long_histories() -> None:
    explore(n_examples=150, n_steps=60)


# Clients that break the protocol; the twins must find them out.


class OneSlot(ClientSlots):
    """Keeps only the state after the packet just sent."""

    def store(self, *, acknowledged: bytes, pending: Slot) -> None:
        del acknowledged
        super().store(acknowledged=FRESH_TOKEN, pending=pending)


class NoResidual(ClientSlots):
    """Loses the residual of its slots."""

    def find(self, token: bytes, schema: Schema, profile: Profile) -> Slot | None:
        slot = super().find(token, schema, profile)
        return None if slot is None else Slot(slot.state, {})


class ResidualOutsideTheSlots(ClientSlots):
    """Adds the residual of the packet it sent last to the next one, whether it arrived or not."""

    def __init__(self, records: RecordDict, run_id: int) -> None:
        super().__init__(records, run_id)
        self.records = records

    def find(self, token: bytes, schema: Schema, profile: Profile) -> Slot | None:
        slot = super().find(token, schema, profile)
        if slot is None:
            return None
        return Slot(slot.state, arrays_of(self.records.array_records["residual"]))

    def store(self, *, acknowledged: bytes, pending: Slot) -> None:
        super().store(acknowledged=acknowledged, pending=pending)
        self.records["residual"] = record_of(dict(pending.residual))


@pytest.mark.parametrize(
    ("forgery", "violation"),
    [(OneSlot, "slots"), (NoResidual, "residual"), (ResidualOutsideTheSlots, "residual")],
)
def test_client_that_breaks_the_protocol_is_found_out(
    forgery: type[ClientSlots], violation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fl_deepcabac.flower.client.ClientSlots", forgery)
    twins = Twins(1, PlannedFaults(random.Random(0)))
    for kind in (Kind.NONE, Kind.LOST_UP, Kind.NONE):
        twins.play_round({1000: kind})
    assert any(violation in text for text in twins.violations)


# Ends of the way down that break the protocol: a node that takes whatever model it gets to, one
# that holds on to a copy that failed it, a server that does not listen to nodes without a copy, one
# that takes nodes for holders of what they may not have kept, one that forgets what it left out.


def takes_any_model(arrays: Arrays, *_: object) -> ArrayRecord:
    return record_of(arrays)


def does_nothing(*_: object) -> None:
    return


def confirms_all(sender: ModelSender, _: Message, instruction: Instruction) -> None:
    assert instruction.model is not None
    node_id = instruction.message.metadata.dst_node_id
    sender._copies.confirm(node_id, instruction.model.digest)


def adds_nothing(_: Broadcast, arrays: ArrayRecord) -> ArrayRecord:
    return arrays


@pytest.mark.parametrize(
    ("owner", "name", "forgery", "fault", "violation"),
    [
        (model_copy, "_checked", takes_any_model, Kind.DOWN_OLD, "another model"),
        (ModelCopy, "drop", does_nothing, Kind.DOWN_EMPTY, "copy of node"),
        (NodeCopies, "forget", does_nothing, Kind.DOWN_EMPTY, "chain for node"),
        (ModelSender, "note_reply", confirms_all, Kind.RAISES_ROLLED_BACK, "nothing for node"),
        (Broadcast, "with_left_out", adds_nothing, Kind.NONE, "left out"),
    ],
)
def test_way_down_that_breaks_the_protocol_is_found_out(
    owner: object,
    name: str,
    forgery: Callable[..., object],
    fault: Kind,
    violation: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(owner, name, forgery)
    twins = Twins(1, PlannedFaults(random.Random(0)), downlink=DownlinkConfig())
    for kind in (Kind.NONE, fault, Kind.NONE):
        twins.play_round({1000: kind})
    assert any(violation in text for text in twins.violations), twins.violations


@pytest.mark.parametrize("downlink", [None, DownlinkConfig()])
def test_run_that_keeps_to_the_protocol_is_not(downlink: DownlinkConfig | None) -> None:
    twins = Twins(1, PlannedFaults(random.Random(0)), downlink=downlink)
    for kind in (Kind.NONE, Kind.LOST_UP, Kind.DOWN_OLD, Kind.DOWN_TRUNCATION, Kind.NONE):
        twins.play_round({1000: kind})
    assert twins.violations == []


def test_node_keeps_what_a_server_that_restarts_in_a_round_may_come_back_to(
    tmp_path: Path,
) -> None:
    # Found by a long history: the packet of the second round was coded against the saved state.
    twins = Twins(N_NODES, PlannedFaults(random.Random(0)), seed=0, downlink=None)
    twins.play_round({})
    twins.save_server(tmp_path / "run.checkpoint")
    twins.play_round({}, restarts_midway=True)
    twins.go_on_from(tmp_path / "run.checkpoint")
    n_warm = twins.n_warm
    twins.play_round({})
    twins.check_slots()
    assert twins.violations == []
    assert twins.n_warm == n_warm + N_NODES
