# SPDX-License-Identifier: Apache-2.0
"""Mixed random faults, by seed, until a number of them has been injected.

Faults of single messages are those of `fault_kinds`; between rounds, nodes forget, go, come and
stay away, the server restarts and the model changes. `twin` says what must come of it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from flower.fault_kinds import DOWN_KINDS, KINDS, Kind
from flower.planned_faults import PlannedFaults
from flower.twin import MODELS, Twins

from fl_deepcabac.flower import DownlinkConfig

# Upsets that concern no single message, with their probability before each round.
UPSETS: Final = {
    "amnesia under the same node id": 0.1,
    "new node in the place of an old one": 0.05,
    "absence for some rounds": 0.1,
    "server restart": 0.03,
    "server restart before the replies": 0.03,
    "schema change": 0.03,
}
# These need a compressed way down.
DOWN_UPSETS: Final = {"amnesia of the copy alone": 0.1}
# Share of messages that meet with a fault of their own.
MESSAGE_FAULTS: Final = 0.5
# Share of rounds after which the model is evaluated, where the way down is compressed: so it moves
# on in the middle of a round, or with the next one.
EVALUATIONS: Final = 0.5
MAX_ABSENCE: Final = 6
# Few, because every pair of them multiplies what a round costs; enough for swaps and bystanders.
N_NODES: Final = 4


@dataclass(frozen=True)
class StormReport:
    """What was done to a run and what has come of it.

    Parameters
    ----------
    counts : mapping of str to int
        Faults by kind; those that could not be injected, as there was nothing to do it with, are
        not counted.
    rounds, messages, warm, fresh : int
        Rounds played, train messages sent, and updates used by how they were coded.
    violations : list of str
        Disagreements with the twins; none is right.
    max_residual_error : float
        Largest difference between a residual and what it should be, any weight; updates are near 1.
    max_protocol_bytes : int
        Largest token plus envelope less packet, both ways together, of any message.
    forms : mapping of str to int
        Models sent on a compressed way down, evaluation included, by what stood for them.
    without_model : int
        Train messages answered by an error because the node could not have the model.
    models_seen : int
        Models that apps got to work with, all of them the ones meant.
    """

    counts: Mapping[str, int]
    rounds: int
    messages: int
    warm: int
    fresh: int
    violations: list[str]
    max_residual_error: float
    max_protocol_bytes: int
    forms: Mapping[str, int]
    without_model: int
    models_seen: int

    @property
    def n_faults(self) -> int:
        return sum(self.counts.values())


class Storm:
    """One run among faults.

    Parameters
    ----------
    seed : int
    downlink : DownlinkConfig, optional
        How models travel down; as they are if not given.
    """

    def __init__(self, seed: int, downlink: DownlinkConfig | None = None) -> None:
        # Strategies sample nodes by the global generator.
        random.seed(seed)
        self._rng = random.Random(seed)
        # Details, such as which bit, are drawn apart: how many there are to draw depends on the
        # lengths of packets, and the counts in docs/protocol.md shall not.
        self._faults = PlannedFaults(random.Random(seed))
        self._twins = Twins(N_NODES, self._faults, seed=seed, downlink=downlink)
        self._is_down = downlink is not None
        # Most messages bring little or nothing that a fault of the way down could befall.
        self._kinds = KINDS + 3 * DOWN_KINDS if self._is_down else KINDS
        self._chances = UPSETS | DOWN_UPSETS if self._is_down else UPSETS
        self._upsets: Counter[str] = Counter()
        self._rounds_away: dict[int, int] = {}

    def rage(self, n_faults: int) -> StormReport:
        """Play rounds until at least so many faults have been injected."""
        while self._faults.n_faults + self._upsets.total() < n_faults:
            restarts_midway = self._upset()
            plan = {
                node.node_id: self._rng.choice(self._kinds)
                for node in self._twins.grid.nodes.values()
                if node.is_connected and self._rng.random() < MESSAGE_FAULTS
            }
            self._twins.play_round(plan, restarts_midway=restarts_midway)
            if self._is_down and self._rng.random() < EVALUATIONS:
                self._twins.evaluate()
        injected = self._faults.counts
        return StormReport(
            counts={**{kind: injected[kind] for kind in self._kinds}, **self._upsets},
            rounds=self._twins.server_round,
            messages=injected[Kind.NONE] + self._faults.n_faults,
            warm=self._twins.n_warm,
            fresh=self._twins.n_fresh,
            violations=self._twins.violations,
            max_residual_error=self._twins.max_residual_error,
            max_protocol_bytes=self._twins.max_protocol_bytes,
            forms=self._twins.copies.forms,
            without_model=self._twins.n_without_model,
            models_seen=self._twins.n_models_seen,
        )

    def _upset(self) -> bool:
        """Draw what happens before a round; return whether the server restarts within it."""
        self._return_nodes()
        drawn = {name for name, p in self._chances.items() if self._rng.random() < p}
        node_id = self._rng.choice(list(self._twins.grid.nodes))
        if "amnesia under the same node id" in drawn:
            self._twins.forget(node_id)
        if "amnesia of the copy alone" in drawn:
            self._twins.forget_copy(node_id)
        if "new node in the place of an old one" in drawn:
            self._twins.remove_node(node_id)
            self._rounds_away.pop(node_id, None)
            self._twins.add_node()
        if "absence for some rounds" in drawn:
            self._send_away()
        if "server restart" in drawn:
            self._twins.restart_server()
        if "schema change" in drawn:
            self._twins.change_model((self._twins.model + 1) % len(MODELS))
        self._upsets.update(drawn)
        return "server restart before the replies" in drawn

    def _send_away(self) -> None:
        """Disconnect a node; at least two stay."""
        here = [node for node in self._twins.grid.nodes.values() if node.is_connected]
        for node in self._rng.sample(here, k=min(1, len(here) - 2)):
            node.is_connected = False
            self._rounds_away[node.node_id] = self._rng.randint(1, MAX_ABSENCE)

    def _return_nodes(self) -> None:
        for node_id in list(self._rounds_away):
            self._rounds_away[node_id] -= 1
            if self._rounds_away[node_id] < 0:
                del self._rounds_away[node_id]
                self._twins.grid.nodes[node_id].is_connected = True


def run_storm(*, n_faults: int, seed: int, downlink: DownlinkConfig | None = None) -> StormReport:
    """Run FedAvg with a few nodes until at least `n_faults` faults have been injected."""
    return Storm(seed, downlink).rage(n_faults)
