# SPDX-License-Identifier: Apache-2.0
"""Whole runs whose states do not fit the budget: spilled, nothing changes; dropped, still right."""

from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flower.four_nodes import N_NODES, codings, fedavg, rows_of
from flower.inprocess_grid import Faults, InProcessGrid, LosesReplies, Node
from flower.toy import EXACT, arrays_of, initial_arrays, make_app
from flwr.app import Message
from flwr.serverapp.strategy import FedAvg, Result

from fl_deepcabac import CodecConfig, ConfigError
from fl_deepcabac.flower import DeepCABACStrategy, DeepCABACStrategyMixin
from fl_deepcabac.flower.records import parse_update

N_ROUNDS = 5
LOSSY = CodecConfig(step=0.01)
# Room for one state of the model of `toy`, which takes about 5 kB, and not for two.
ONE_STATE = 8_000


def run(
    faults: Faults | None = None, *, config: CodecConfig = LOSSY, **settings: Any
) -> tuple[DeepCABACStrategy, InProcessGrid, Result]:
    random.seed(1)  # replies are summed in the order in which nodes were sampled
    strategy = DeepCABACStrategy(fedavg(), config, **settings)
    grid = InProcessGrid([make_app() for _ in range(N_NODES)], faults=faults or Faults())
    return strategy, grid, strategy.start(grid, initial_arrays(), num_rounds=N_ROUNDS)


def packets(grid: InProcessGrid) -> dict[tuple[int, int], bytes]:
    """Return what each node sent in each round, without the envelope."""
    updates = {
        (e.node.partition_id, e.server_round): parse_update(e.reply.content)
        for e in grid.train_exchanges()
    }
    return {key: update.packet for key, update in updates.items() if update is not None}


def states_of(strategy: DeepCABACStrategy) -> Any:
    return strategy._codec_endpoint.states


def assert_equal_weights(found: Result, expected: Result) -> None:
    for name, array in arrays_of(expected.arrays).items():
        np.testing.assert_array_equal(found.arrays[name].numpy(), array)


@pytest.mark.parametrize("budget", [0, ONE_STATE])
def test_spilled_states_give_the_packets_and_weights_of_a_run_without_budget(
    budget: int, tmp_path: Path
) -> None:
    _, plain_grid, expected = run()
    strategy, grid, result = run(state_budget_bytes=budget, spill_directory=tmp_path)
    assert packets(grid) == packets(plain_grid)
    assert_equal_weights(result, expected)
    for partition in range(N_NODES):
        assert codings(strategy, partition) == ["fresh"] + ["warm"] * (N_ROUNDS - 1)
    assert states_of(strategy).n_bytes <= budget
    n_in_memory = len(states_of(strategy)._in_memory)
    assert n_in_memory == (budget > 0)
    assert len(list(tmp_path.rglob("*.state"))) == N_NODES - n_in_memory


def test_dropped_states_cost_warm_packets_and_nothing_else() -> None:
    _, _, expected = run(config=EXACT)
    strategy, _, result = run(config=EXACT, state_budget_bytes=ONE_STATE)
    assert_equal_weights(result, expected)
    totals = strategy.communication.totals
    assert totals.failures == 0
    assert 0 < totals.warm < totals.fresh
    assert states_of(strategy).n_bytes <= ONE_STATE


def test_budget_of_nothing_makes_every_packet_fresh() -> None:
    strategy, _, _ = run(state_budget_bytes=0)
    totals = strategy.communication.totals
    assert (totals.failures, totals.warm, totals.fresh) == (0, 0, N_NODES * N_ROUNDS)


@pytest.mark.parametrize("spills", [False, True])
def test_lost_replies_never_desynchronise_a_budgeted_run(spills: bool, tmp_path: Path) -> None:
    loses = LosesReplies(lambda node, server_round: (node.partition_id + server_round) % 3 == 0)
    strategy, _, _ = run(
        loses, state_budget_bytes=ONE_STATE, spill_directory=tmp_path if spills else None
    )
    rows = [row for partition in range(N_NODES) for row in rows_of(strategy, partition)]
    assert {row.failure for row in rows} == {None, "no reply"}


class DeletesFiles(Faults):
    """Empties the directory while the nodes of round 3 are at work."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def before_training(self, node: Node, message: Message, server_round: int) -> Message | None:
        del node
        if server_round == 3:
            for file in self.directory.rglob("*.state"):
                file.unlink()
        return message


def test_file_lost_between_message_and_reply_is_one_bad_reply_and_a_fresh_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    strategy, _, _ = run(DeletesFiles(tmp_path), state_budget_bytes=0, spill_directory=tmp_path)
    for partition in range(N_NODES):
        assert codings(strategy, partition) == ["fresh", "warm", "none", "fresh", "warm"]
        assert str(rows_of(strategy, partition)[2].failure).startswith("CorruptPacketError")
    assert sum("starts afresh" in record.getMessage() for record in caplog.records) == N_NODES


def test_summary_names_a_budget(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.INFO)
    DeepCABACStrategy(fedavg()).summary()
    assert "States:" not in caplog.text
    DeepCABACStrategy(fedavg(), state_budget_bytes=1_000).summary()
    assert "States: at most 1,000 bytes in memory, the rest dropped" in caplog.text
    DeepCABACStrategy(fedavg(), state_budget_bytes=1, spill_directory=tmp_path).summary()
    assert f"the rest in {tmp_path}" in caplog.text


def test_mixin_takes_the_same_settings(tmp_path: Path) -> None:
    class Mine(DeepCABACStrategyMixin, FedAvg):
        pass

    strategy = Mine(state_budget_bytes=5, spill_directory=tmp_path, fraction_evaluate=0.5)
    assert strategy.fraction_evaluate == 0.5
    assert str(strategy._codec_endpoint.states).startswith("at most 5 bytes in memory")
    with pytest.raises(ConfigError, match="state_budget_bytes"):
        Mine(state_budget_bytes=-5)
    with pytest.raises(ConfigError, match="spill_directory"):
        DeepCABACStrategy(FedAvg(), spill_directory=tmp_path)
