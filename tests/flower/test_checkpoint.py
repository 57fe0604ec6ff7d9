# SPDX-License-Identifier: Apache-2.0
"""Runs that stop and go on from a checkpoint, beside runs that never stopped."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flower.downlink_run import bytes_of, drift
from flower.four_nodes import N_NODES, fedavg
from flower.inprocess_grid import InProcessGrid
from flower.toy import arrays_of, initial_arrays, make_app, record_of
from flwr.app import ArrayRecord, MetricRecord
from flwr.serverapp.strategy import (
    DifferentialPrivacyServerSideAdaptiveClipping,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedProx,
    FedYogi,
    QFedAvg,
    Strategy,
)

from fl_deepcabac import CheckpointError, CodecConfig, ConfigError
from fl_deepcabac.flower import (
    DeepCABACStrategy,
    DeepCABACStrategyMixin,
    DownlinkConfig,
)

CODEC = CodecConfig(relative_step=2.0)
ALL: dict[str, Any] = {
    "min_available_nodes": N_NODES,
    "min_train_nodes": N_NODES,
    "min_evaluate_nodes": N_NODES,
}


def make_grid() -> InProcessGrid:
    return InProcessGrid([make_app(train=drift) for _ in range(N_NODES)])


FLOATS = arrays_of(initial_arrays(50))


def model() -> ArrayRecord:
    return record_of({**FLOATS, "counter": np.array(3), "half": np.ones(5, np.float16)})


def comparable(strategy: DeepCABACStrategy | DeepCABACStrategyMixin) -> list[dict[str, Any]]:
    """Return the ledger without what depends on the clock."""
    rounds = [asdict(record) for record in strategy.communication.rounds]
    for record in rounds:
        for row in record["transfers"]:
            del row["encode_seconds"], row["decode_seconds"]
    return rounds


INNER: dict[str, Callable[[], Strategy]] = {
    "FedAvg": lambda: FedAvg(**ALL),
    "FedAdam": lambda: FedAdam(**ALL, eta=0.01),
    "FedYogi": lambda: FedYogi(**ALL, eta=0.01),
    "FedAvgM": lambda: FedAvgM(**ALL, server_momentum=0.9),
    "QFedAvg": lambda: QFedAvg(**ALL, client_learning_rate=0.1),
    "FedProx": lambda: FedProx(**ALL, proximal_mu=0.1),
}


CASES = [
    *((name, None) for name in INNER),
    *((name, DownlinkConfig()) for name in ("FedAvg", "FedAdam")),
]


@pytest.mark.parametrize(("name", "downlink"), CASES)
def test_resumed_run_equals_the_one_that_never_stopped(
    tmp_path: Path, name: str, downlink: DownlinkConfig | None
) -> None:
    def build() -> DeepCABACStrategy:
        return DeepCABACStrategy(INNER[name](), CODEC, downlink=downlink)

    # Flower draws nodes, and so the order of sums, with the global generator.
    random.seed(1)
    arrays = record_of(FLOATS) if name == "QFedAvg" else model()
    whole = build()
    expected = whole.start(make_grid(), arrays, num_rounds=5)

    random.seed(1)
    grid, path = make_grid(), tmp_path / "run.checkpoint"
    first = build()
    first.start(grid, arrays, num_rounds=3)
    first.save(path)
    second = build()
    checkpoint = second.load(path)
    assert checkpoint.server_round == 3
    result = second.start(grid, checkpoint.arrays, num_rounds=2)

    assert bytes_of(arrays_of(result.arrays)) == bytes_of(arrays_of(expected.arrays))
    assert comparable(second) == comparable(whole)
    assert [record.server_round for record in second.communication.rounds] == [1, 2, 3, 4, 5]
    assert second.communication.rounds[3].totals("train").warm == N_NODES
    assert list(tmp_path.iterdir()) == [path]


def test_states_come_back_within_the_budget(tmp_path: Path) -> None:
    path, spilled = tmp_path / "run.checkpoint", tmp_path / "spilled"
    grid = make_grid()
    first = DeepCABACStrategy(fedavg(), CODEC, state_budget_bytes=0, spill_directory=spilled)
    first.start(grid, model(), num_rounds=2)
    first.save(path)
    budget = first._codec_endpoint.states.items()
    n_bytes = sum(saved.n_bytes for _, _, saved in budget)

    second = DeepCABACStrategy(
        fedavg(), CODEC, state_budget_bytes=n_bytes // 2, spill_directory=spilled
    )
    arrays = second.load(path).arrays
    assert 0 < second._codec_endpoint.states.n_bytes <= n_bytes // 2
    second.start(grid, arrays, num_rounds=1)
    assert second.communication.rounds[-1].totals().warm == N_NODES

    dropping = DeepCABACStrategy(fedavg(), CODEC, state_budget_bytes=0)
    dropping.start(grid, dropping.load(path).arrays, num_rounds=1)
    assert dropping.communication.rounds[-1].totals().fresh == N_NODES


def test_damaged_spilled_state_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grid, path = make_grid(), tmp_path / "run.checkpoint"
    first = DeepCABACStrategy(fedavg(), CODEC, state_budget_bytes=0, spill_directory=tmp_path / "s")
    first.start(grid, model(), num_rounds=2)
    next((tmp_path / "s").rglob("*.state")).write_bytes(b"")
    first.save(path)
    assert "checkpoint without the state of node 100" in caplog.text
    second = DeepCABACStrategy(fedavg(), CODEC)
    second.start(grid, second.load(path).arrays, num_rounds=1)
    totals = second.communication.rounds[-1].totals()
    assert (totals.warm, totals.fresh) == (N_NODES - 1, 1)


def test_every_round_is_saved_where_a_path_is_given(tmp_path: Path) -> None:
    path = tmp_path / "run.checkpoint"
    seen: list[int] = []

    def look(server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        if server_round:
            checkpoint = DeepCABACStrategy(fedavg(), CODEC).load(path)
            assert bytes_of(arrays_of(checkpoint.arrays)) == bytes_of(arrays_of(arrays))
            seen.append(checkpoint.server_round)
        return None

    strategy = DeepCABACStrategy(fedavg(), CODEC, checkpoint_path=path)
    strategy.start(make_grid(), model(), num_rounds=3, evaluate_fn=look)
    assert seen == [1, 2, 3]


def test_every_other_round_is_saved_where_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "run.checkpoint"
    strategy = DeepCABACStrategy(fedavg(), CODEC, checkpoint_path=path, checkpoint_every=2)
    strategy.start(make_grid(), model(), num_rounds=3)
    assert DeepCABACStrategy(fedavg(), CODEC).load(path).server_round == 2


def test_clients_ahead_of_the_checkpoint_start_afresh_and_heal(tmp_path: Path) -> None:
    grid, path = make_grid(), tmp_path / "run.checkpoint"
    first = DeepCABACStrategy(
        fedavg(), CODEC, downlink=DownlinkConfig(), checkpoint_path=path, checkpoint_every=2
    )
    # What the fifth round taught the nodes is lost with the server.
    first.start(grid, model(), num_rounds=5)
    second = DeepCABACStrategy(fedavg(), CODEC, downlink=DownlinkConfig())
    checkpoint = second.load(path)
    assert checkpoint.server_round == 4
    second.start(grid, checkpoint.arrays, num_rounds=3)
    rounds = [record.totals("train") for record in second.communication.rounds[4:]]
    # The slot that the fourth round acknowledged is still there, and so is the way to the model.
    assert [(totals.failures, totals.warm) for totals in rounds] == [(0, N_NODES)] * 3


def test_clients_far_ahead_of_the_checkpoint_heal_within_a_round(tmp_path: Path) -> None:
    grid, path = make_grid(), tmp_path / "run.checkpoint"
    first = DeepCABACStrategy(fedavg(), CODEC, downlink=DownlinkConfig())
    first.start(grid, model(), num_rounds=2)
    first.save(path)
    first.start(grid, first._codec_checkpoints._arrays, num_rounds=3)
    second = DeepCABACStrategy(fedavg(), CODEC, downlink=DownlinkConfig())
    second.start(grid, second.load(path).arrays, num_rounds=3)
    rounds = [record.totals("train") for record in second.communication.rounds[2:]]
    assert [totals.failures for totals in rounds] == [N_NODES, 0, 0]
    assert [totals.fresh for totals in rounds] == [0, N_NODES, 0]
    assert rounds[2].warm == N_NODES


def test_other_settings_may_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    grid, path = make_grid(), tmp_path / "run.checkpoint"
    first = DeepCABACStrategy(FedAvg(**ALL), CODEC, downlink=DownlinkConfig(profile="fast"))
    first.start(grid, model(), num_rounds=2)
    first.save(path)
    finer = CodecConfig(relative_step=1.0, profile="max")
    for downlink in (None, DownlinkConfig(profile="max", exact_keyframes=True)):
        inner = FedAvg(**{**ALL, "min_train_nodes": 1}, fraction_train=0.5)
        second = DeepCABACStrategy(inner, finer, downlink=downlink)
        second.start(grid, second.load(path).arrays, num_rounds=2)
        assert inner.fraction_train == 0.5
        totals = [record.totals("train") for record in second.communication.rounds[2:]]
        # Another profile is another stream.
        assert totals[0].fresh == totals[0].messages == 2
        assert [total.failures for total in totals] == [0, 0]
    assert not [record for record in caplog.records if record.name == "fl_deepcabac"]


class Remembers(FedAvg):
    """Works in place, and keeps what no checkpoint can hold."""

    def __init__(self) -> None:
        super().__init__(**ALL)
        self.momentum = np.zeros(3)
        self.tags: dict[Any, Any] = {}
        self.settings = {"rate": 0.1}
        self.rng: object = None

    def aggregate_train(
        self, server_round: int, replies: Any
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        self.momentum += server_round
        self.tags[server_round] = ("seen", float("inf"), np.float32(0.5), MetricRecord({"a": 1}))
        self.rng = np.random.default_rng(server_round)
        return super().aggregate_train(server_round, replies)


def test_memory_of_a_strategy_of_the_users_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "run.checkpoint"
    inner = Remembers()
    first = DeepCABACStrategy(inner, CODEC, checkpoint_path=path)
    first.start(make_grid(), model(), num_rounds=2)
    assert caplog.text.count("checkpoints leave out what the strategy keeps in rng") == 1
    other = Remembers()
    other.settings = {"rate": 0.2}
    DeepCABACStrategy(other, CODEC).load(path)
    assert other.momentum.tolist() == [3.0, 3.0, 3.0]
    assert other.tags == inner.tags
    assert type(other.tags[1][2]) is np.float32
    assert other.settings == {"rate": 0.2}
    assert other.rng is None


def test_mixin_and_wrapped_privacy_come_back(tmp_path: Path) -> None:
    class Mine(DeepCABACStrategyMixin, FedAdam):
        def __init__(self, label: str, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.label = label

    path = tmp_path / "mixin.checkpoint"
    first = Mine("a", **ALL, codec=CODEC)
    first.start(make_grid(), model(), num_rounds=2)
    first.save(path)
    second = Mine("b", **ALL, codec=CODEC)
    second.load(path)
    assert second.label == "b"
    assert second.m_t is not None
    assert first.m_t is not None
    assert bytes_of(second.m_t) == bytes_of(first.m_t)

    def private() -> DifferentialPrivacyServerSideAdaptiveClipping:
        return DifferentialPrivacyServerSideAdaptiveClipping(
            FedAvg(**ALL), noise_multiplier=0.01, num_sampled_clients=N_NODES
        )

    inner, path = private(), tmp_path / "private.checkpoint"
    third = DeepCABACStrategy(inner, CODEC)
    third.start(make_grid(), record_of(FLOATS), num_rounds=2)
    third.save(path)
    again = private()
    assert again.clipping_norm != inner.clipping_norm
    DeepCABACStrategy(again, CODEC).load(path)
    assert again.clipping_norm == inner.clipping_norm


def test_checkpoint_of_another_kind_of_strategy_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.checkpoint"
    first = DeepCABACStrategy(fedavg(), CODEC)
    first.start(make_grid(), model(), num_rounds=1)
    first.save(path)

    class Mine(DeepCABACStrategyMixin, FedAvg):
        pass

    with pytest.raises(CheckpointError, match=r"expected .* 2 strategies, one in the other"):
        Mine(**ALL).load(path)


def test_strategy_without_a_model_has_nothing_to_save(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="expected a strategy that has a model"):
        DeepCABACStrategy(fedavg()).save(tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_checkpoint_that_cannot_be_written_costs_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "run.checkpoint"
    strategy = DeepCABACStrategy(fedavg(), CODEC, checkpoint_path=path)
    strategy.start(make_grid(), model(), num_rounds=1)
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    strategy.start(make_grid(), model(), num_rounds=2)
    assert caplog.text.count("no checkpoint, the one before stays") == 2
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OSError, match="No space left"):
        strategy.save(path)


def test_arguments_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"checkpoint_path.*a folder that is there"):
        DeepCABACStrategy(fedavg(), checkpoint_path=tmp_path / "none" / "x")
    with pytest.raises(ConfigError, match=r"checkpoint_every.*at least 1"):
        DeepCABACStrategy(fedavg(), checkpoint_path=tmp_path / "x", checkpoint_every=0)
    with pytest.raises(ConfigError, match=r"checkpoint_every.*a checkpoint_path beside it"):
        DeepCABACStrategy(fedavg(), checkpoint_every=2)
    with pytest.raises(TypeError, match="checkpoint_path"):
        DeepCABACStrategy(fedavg(), checkpoint_path=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="checkpoint_every"):
        DeepCABACStrategy(fedavg(), checkpoint_path="x", checkpoint_every=1.5)  # type: ignore[arg-type]


def test_summary_says_where_checkpoints_go(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="flwr")
    DeepCABACStrategy(fedavg(), checkpoint_path=tmp_path / "x", checkpoint_every=3).summary()
    assert f"Checkpoints: every 3 rounds, in {tmp_path / 'x'}" in caplog.text


TRAINS_FOREVER = """
import sys
from flwr.supercore.task_identity import TaskIdentity
from flower.test_checkpoint import CODEC, make_grid, model
from flower.four_nodes import fedavg
from fl_deepcabac.flower import DeepCABACStrategy, DownlinkConfig

TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 2, 1, 1  # another run
strategy = DeepCABACStrategy(
    fedavg(), CODEC, downlink=DownlinkConfig(), checkpoint_path=sys.argv[1]
)
print("ready", flush=True)
strategy.start(make_grid(), model(), num_rounds=10**6)
"""


def kill_and_go_on(path: Path, moment: float) -> int:
    """Train in a process of its own, kill it, go on here; return the rounds it had saved."""
    tests = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(tests)}
    command = [sys.executable, "-c", TRAINS_FOREVER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while not path.exists():
            time.sleep(0.01)
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
    strategy = DeepCABACStrategy(fedavg(), CODEC, downlink=DownlinkConfig())
    checkpoint = strategy.load(path)
    assert list(path.parent.iterdir()) == [path]
    strategy.start(make_grid(), checkpoint.arrays, num_rounds=1)
    assert strategy.communication.rounds[-1].server_round == checkpoint.server_round + 1
    assert strategy.communication.rounds[-1].totals().failures == 0
    return checkpoint.server_round


def test_killed_server_goes_on(tmp_path: Path) -> None:
    assert kill_and_go_on(tmp_path / "run.checkpoint", 0.1) >= 1


@pytest.mark.slow
def test_server_killed_at_any_moment_goes_on(tmp_path: Path) -> None:
    for i in range(40):
        path = tmp_path / str(i) / "run.checkpoint"
        path.parent.mkdir()
        assert kill_and_go_on(path, random.Random(i).uniform(0, 0.5)) >= 1
