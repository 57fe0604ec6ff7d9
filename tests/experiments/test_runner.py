# SPDX-License-Identifier: Apache-2.0
"""Whole runs in one process: real tasks, clients, strategies and codec; only the engine is a grid.

The engine of Flower itself is used once, in test_simulation.py.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flower.inprocess_grid import Faults, InProcessGrid, Node
from flwr.app import Message
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from fl_deepcabac import CodecConfig
from fl_deepcabac.experiments import engine as engine_module
from fl_deepcabac.experiments.client import load_partitioned
from fl_deepcabac.experiments.codecs import DeepCabac, Uncompressed
from fl_deepcabac.experiments.engine import engine_log
from fl_deepcabac.experiments.rows import HEADER_LAYER, RoundRow
from fl_deepcabac.experiments.runner import RunResult, SimulationError, run_federated
from fl_deepcabac.experiments.settings import STRATEGY_NAMES, RunSettings, SettingsError
from fl_deepcabac.experiments.strategies import RepeatableStrategy, build_strategy
from fl_deepcabac.experiments.tasks import TaskData, digits
from fl_deepcabac.experiments.traffic import SimulationStopped
from fl_deepcabac.flower import DeepCABACStrategy

SETTINGS = RunSettings(clients=3, rounds=2, local_epochs=1, batch_size=32)
N_SAMPLES = 240
N_WEIGHTS = 151_306
MODEL_BYTES = 4 * N_WEIGHTS
# What stands before each packet: checksum and encode time.
ENVELOPE_BYTES = 6


@pytest.fixture(autouse=True)
def _few_digits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave the task a sixth of its samples, for speed."""
    data = digits.TASK.load_data(None)
    few = TaskData(data.train.take(np.arange(N_SAMPLES)), data.test.take(np.arange(60)))
    monkeypatch.setattr(digits, "TASK", dataclasses.replace(digits.TASK, load_data=lambda _: few))
    load_partitioned.cache_clear()
    yield
    load_partitioned.cache_clear()


class InProcess:
    """An engine whose clients answer in this process."""

    def __init__(self, faults: Faults | None = None, *, seed: int = 0) -> None:
        self._faults = faults or Faults()
        self._seed = seed
        self.n_workers = 0

    def __call__(
        self,
        serve: Callable[[Grid], None],
        client_app: ClientApp,
        *,
        n_nodes: int,
        n_workers: int,
        stop: threading.Event,
    ) -> None:
        self.n_workers = n_workers
        serve(InProcessGrid([client_app] * n_nodes, faults=self._faults, seed=self._seed))
        stop.set()


class FailsFor(Faults):
    """Replaces the reply of the clients that `picks` picks by an error."""

    def __init__(self, picks: Callable[[Node, int], bool]) -> None:
        self._picks = picks

    def before_training(self, node: Node, message: Message, server_round: int) -> Message | None:
        if self._picks(node, server_round):
            message.content.config_records["config"]["experiment"] = "{}{"
        return message


class WatchedDeepCabac(DeepCabac):
    """Keeps the strategy, for its ledger."""

    def wrap(self, strategy: Strategy) -> DeepCABACStrategy:
        self.strategy = DeepCABACStrategy(strategy, self.config)
        return self.strategy


def without_times(rows: list[RoundRow]) -> list[RoundRow]:
    times = {"seconds": 0.0, "encode_seconds": 0.0, "decode_seconds": 0.0}
    return [dataclasses.replace(row, **times) for row in rows]


def equal_weights(a: RunResult, b: RunResult) -> bool:
    return all(np.array_equal(a.weights[name], b.weights[name]) for name in a.weights)


def test_uncompressed_run_counts_every_model() -> None:
    result = run_federated(SETTINGS, Uncompressed(), engine=InProcess())
    assert [row.round for row in result.rows] == [1, 2]
    for row in result.rows:
        assert (row.run, row.codec, row.clients, row.failures) == ("none", "none", 3, 0)
        assert row.n_weights == N_WEIGHTS
        assert row.uplink_raw_bytes == row.uplink_packet_bytes == 3 * MODEL_BYTES
        assert row.downlink_raw_bytes == row.downlink_packet_bytes == 2 * 3 * MODEL_BYTES
        assert row.uplink_wire_bytes > row.uplink_packet_bytes
        assert row.bits_per_weight == 32.0
        assert row.layer_bytes["fc1.weight"] == 3 * 4 * 128 * 1024
        assert row.layer_bytes[HEADER_LAYER] == 0
    assert sum(array.size for array in result.weights.values()) == N_WEIGHTS
    assert result.warnings == []


def test_compressed_run_agrees_with_the_ledger_of_its_strategy() -> None:
    codec = WatchedDeepCabac(CodecConfig(relative_step=3.0))
    result = run_federated(SETTINGS, codec, label="mine", engine=InProcess())
    assert len(result.rows) == len(codec.strategy.communication.rounds) == 2
    for row, record in zip(result.rows, codec.strategy.communication.rounds, strict=True):
        totals = record.totals()
        assert row.run == "mine"
        assert row.uplink_packet_bytes == totals.uplink_packet_bytes + 3 * ENVELOPE_BYTES
        assert row.uplink_raw_bytes == totals.uplink_raw_bytes
        assert row.downlink_packet_bytes == totals.downlink_packet_bytes
        assert row.uplink_wire_bytes == totals.uplink_wire_bytes
        assert row.downlink_wire_bytes == totals.downlink_wire_bytes
        assert sum(row.layer_bytes.values()) == row.uplink_packet_bytes
        assert 0 < row.layer_bytes[HEADER_LAYER] < 3 * 64
        assert row.uplink_ratio is not None
        assert row.uplink_ratio > 20
    assert [row.fresh_updates for row in result.rows] == [3, 0]


@pytest.mark.parametrize("codec", [Uncompressed(), DeepCabac()])
def test_run_repeats_bit_for_bit_whatever_the_order_of_replies(
    codec: Uncompressed | DeepCabac,
) -> None:
    runs = [run_federated(SETTINGS, codec, engine=InProcess(seed=seed)) for seed in (0, 1)]
    assert without_times(runs[0].rows) == without_times(runs[1].rows)
    assert equal_weights(*runs)


def test_codec_is_all_that_differs() -> None:
    """With a step far below the updates, the compressed run follows the uncompressed one."""
    exact = run_federated(SETTINGS, Uncompressed(), engine=InProcess())
    config = CodecConfig(step=1e-7, quantizer="uniform")
    coded = run_federated(SETTINGS, DeepCabac(config), engine=InProcess())
    for name, array in exact.weights.items():
        assert np.max(np.abs(array - coded.weights[name])) < 1e-4, name
    other = run_federated(dataclasses.replace(SETTINGS, seed=1), Uncompressed(), engine=InProcess())
    assert not equal_weights(exact, other)


def test_fraction_trains_only_the_cohort() -> None:
    settings = dataclasses.replace(SETTINGS, clients=5, rounds=4, fraction=0.4)
    seen: list[tuple[int, int]] = []

    class Watches(Faults):
        def before_training(
            self, node: Node, message: Message, server_round: int
        ) -> Message | None:
            seen.append((server_round, node.partition_id))
            return message

    engine = InProcess(Watches())
    result = run_federated(settings, Uncompressed(), engine=engine)
    assert [row.clients for row in result.rows] == [2, 2, 2, 2]
    assert engine.n_workers <= 2
    cohorts = [
        tuple(sorted(client for number, client in seen if number == n)) for n in (1, 2, 3, 4)
    ]
    assert len(set(cohorts)) > 1
    # Flower asks the members of a cohort in an order of its own.
    first = sorted(seen)
    seen.clear()
    run_federated(settings, Uncompressed(), engine=InProcess(Watches(), seed=9))
    assert sorted(seen) == first


@pytest.mark.parametrize(("fraction", "n_judges"), [(None, 2), (0.6, 3), (0.01, 1), (0.0, 0)])
def test_jury_is_drawn_apart_from_the_cohort(fraction: float | None, n_judges: int) -> None:
    settings = dataclasses.replace(
        SETTINGS, clients=5, rounds=4, fraction=0.4, fraction_evaluate=fraction
    )
    result = run_federated(settings, Uncompressed(), engine=InProcess())
    for row in result.rows:
        assert row.downlink_raw_bytes == (2 + n_judges) * MODEL_BYTES
        assert (row.client_accuracy is None) == (n_judges == 0)
    nodes = RepeatableStrategy(
        build_strategy(settings), settings=settings, client_of_node=dict(enumerate(range(5)))
    )
    assert any(set(nodes.jury(n)) - set(nodes.cohort(n)) for n in (1, 2, 3, 4)) == (n_judges > 0)


@pytest.mark.parametrize("codec", [Uncompressed(), DeepCabac()])
def test_failing_client_is_counted_and_the_run_goes_on(codec: Uncompressed | DeepCabac) -> None:
    faults = FailsFor(lambda node, server_round: node.partition_id == 1 and server_round == 1)
    result = run_federated(SETTINGS, codec, engine=InProcess(faults))
    assert [row.failures for row in result.rows] == [1, 0]
    assert result.rows[0].uplink_raw_bytes == 2 * MODEL_BYTES
    bits = result.rows[0].bits_per_weight
    assert bits == 8 * result.rows[0].uplink_packet_bytes / (2 * N_WEIGHTS)


def test_run_in_which_all_clients_fail_says_why() -> None:
    faults = FailsFor(lambda _, server_round: server_round == 2)
    expected = "round 2: expected at least one usable update, found none of 3; .*setting 'json'"
    with pytest.raises(SimulationError, match=expected):
        run_federated(SETTINGS, Uncompressed(), engine=InProcess(faults))


def test_observer_hears_of_replies_and_rounds() -> None:
    heard: list[Any] = []

    class Observer:
        def on_reply(self, phase: str, arrived: int, asked: int) -> None:
            heard.append((phase, arrived, asked))

        def on_round(self, row: RoundRow) -> None:
            heard.append(row.round)

    run_federated(SETTINGS, Uncompressed(), observer=Observer(), engine=InProcess())
    one_round = [(phase, n, 3) for phase in ("train", "evaluate") for n in (1, 2, 3)]
    assert heard == [*one_round, 1, *one_round, 2]


@pytest.mark.parametrize("name", STRATEGY_NAMES)
def test_every_strategy_runs(name: str) -> None:
    settings = dataclasses.replace(SETTINGS, strategy=name, rounds=1)
    [row] = run_federated(settings, DeepCabac(), engine=InProcess()).rows
    assert (row.strategy, row.failures) == (name, 0)
    assert row.accuracy is not None


def test_too_many_clients_are_refused_before_the_engine_starts() -> None:
    settings = dataclasses.replace(SETTINGS, clients=N_SAMPLES + 1)
    engine = InProcess()
    with pytest.raises(SettingsError, match="at most one client per training sample"):
        run_federated(settings, Uncompressed(), engine=engine)
    assert engine.n_workers == 0


def test_failing_engine_ends_the_server_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server runs in a thread, as in Flower, and waits for nodes while Ray fails."""
    threads = []

    def broken_run_simulation(server_app: Any, *_: Any, **__: Any) -> None:
        grid = InProcessGrid([])
        threads.append(threading.Thread(target=server_app, args=(grid, None)))
        monkeypatch.setattr(threading, "excepthook", lambda _: None)
        threads[0].start()
        raise RuntimeError("Simulation Runtime crashed.") from ValueError("no memory")

    monkeypatch.setattr(engine_module, "run_simulation", broken_run_simulation)
    log_path = tmp_path / "engine.log"
    with pytest.raises(SimulationError, match="expected the run to go on, found: no memory"):
        run_federated(SETTINGS, Uncompressed(), log_path=log_path)
    threads[0].join(timeout=5)
    assert not threads[0].is_alive()
    assert "Simulation Runtime crashed." in log_path.read_text(encoding="utf-8")


def test_ctrl_c_ends_the_run_in_an_orderly_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is not torn open: the server is asked to stop, and the engine returns."""
    before = signal.getsignal(signal.SIGINT)
    ended = []

    def interrupted_run_simulation(server_app: Any, *_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(SimulationStopped):
            server_app(grid=InProcessGrid([]), context=None)
        ended.append(True)

    monkeypatch.setattr(engine_module, "run_simulation", interrupted_run_simulation)
    with pytest.raises(KeyboardInterrupt):
        run_federated(SETTINGS, Uncompressed())
    assert ended == [True]
    assert signal.getsignal(signal.SIGINT) is before


def test_engine_log_takes_logs_and_gives_them_back(tmp_path: Path) -> None:
    ours, flower = logging.getLogger("fl_deepcabac.flower"), logging.getLogger("flwr")
    before = list(flower.handlers)
    with engine_log(tmp_path / "log") as warnings:
        flower.info("a round")
        flower.warning("of theirs")
        ours.warning("of ours, %d", 7)
    assert warnings == ["of ours, 7"]
    assert flower.handlers == before
    text = (tmp_path / "log").read_text(encoding="utf-8")
    assert all(part in text for part in ("a round", "of theirs", "of ours, 7"))
