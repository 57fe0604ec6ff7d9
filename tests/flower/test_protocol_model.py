# SPDX-License-Identifier: Apache-2.0
"""The state protocol (docs/protocol.md) as a state machine, explored by Hypothesis.

The real mod and the real strategy play; `twin` holds the model that they must agree with after
every step, whatever is lost, late, doubled, damaged or forgotten, in whatever order. When this
fails, Hypothesis prints the shortest sequence of steps that it found.
"""

from __future__ import annotations

import random

import pytest
from flower.inprocess_grid import Node
from flower.planned_faults import KINDS, Kind, PlannedFaults
from flower.toy import arrays_of, record_of
from flower.twin import MODELS, Twins
from flwr.app import RecordDict
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
from fl_deepcabac.flower.records import FRESH_TOKEN
from fl_deepcabac.flower.state import ClientSlots, Slot

N_NODES = 3
# Which node a rule is about: a number taken modulo those there are.
ANY_NODE = st.integers(0, N_NODES - 1)
PLANS = st.lists(st.sampled_from(Kind), min_size=N_NODES, max_size=N_NODES)


class ProtocolMachine(RuleBasedStateMachine):
    """Rounds with any fault for any node, and what may happen between them."""

    twins: Twins

    @initialize(seed=st.integers(0, 2**16))
    def start(self, seed: int) -> None:
        self.twins = Twins(N_NODES, PlannedFaults(random.Random(seed)), seed=seed)

    def nodes(self, *, connected: bool) -> list[Node]:
        nodes = self.twins.grid.nodes.values()
        return [node for node in nodes if node.is_connected == connected]

    @rule()
    def quiet_round(self) -> None:
        self.twins.play_round({})

    @rule(which=ANY_NODE, kind=st.sampled_from(KINDS))
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
    explore(n_examples=20, n_steps=25)


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


def test_client_that_keeps_to_the_protocol_is_not() -> None:
    twins = Twins(1, PlannedFaults(random.Random(0)))
    for kind in (Kind.NONE, Kind.LOST_UP, Kind.NONE):
        twins.play_round({1000: kind})
    assert twins.violations == []
