# SPDX-License-Identifier: Apache-2.0
"""What a run writes to TensorBoard, MLflow, Weights & Biases and a file, read back from there."""

from __future__ import annotations

import json
import logging
import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from flower.absent import hide
from flower.four_nodes import N_NODES, fedavg
from flower.inprocess_grid import InProcessGrid
from flower.toy import EXACT, initial_arrays, make_app
from flwr.app import MetricRecord
from flwr.serverapp.strategy import FedAvg

from fl_deepcabac.flower import DeepCABACStrategy, DeepCABACStrategyMixin, RoundRecord
from fl_deepcabac.flower.extras import needs_extra
from fl_deepcabac.flower.loggers import (
    JsonLinesLogger,
    MLflowLogger,
    RoundLogger,
    TensorBoardLogger,
    WandbLogger,
    round_values,
)

UPLINK = "communication/train/uplink_packet_bytes"
ABSENT = "an extra of the package, not part of dev: pip install 'fl-deepcabac[{}]'"


class Keeps:
    """A logger that keeps what it is given."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, dict[str, float]]] = []

    def log_round(self, server_round: int, values: Mapping[str, float]) -> None:
        self.steps.append((server_round, dict(values)))

    def close(self) -> None:
        raise AssertionError("a strategy closes no logger")


class Breaks(Keeps):
    """One whose server is away."""

    def log_round(self, server_round: int, values: Mapping[str, float]) -> None:
        super().log_round(server_round, values)
        raise OSError("no route to host")


def evaluated(**kwargs: Any) -> FedAvg:
    return fedavg(fraction_evaluate=1.0, min_evaluate_nodes=N_NODES, **kwargs)


def start(strategy: DeepCABACStrategyMixin, num_rounds: int = 2) -> None:
    grid = InProcessGrid([make_app() for _ in range(N_NODES)])
    strategy.start(grid, initial_arrays(), num_rounds=num_rounds)


def run_with(logger: RoundLogger) -> list[tuple[int, dict[str, float]]]:
    """Run two rounds and return what the logger had to log."""
    kept = Keeps()
    strategy = DeepCABACStrategy(evaluated(), EXACT)
    strategy.loggers = [logger, kept]
    start(strategy)
    return kept.steps


def columns(steps: list[tuple[int, dict[str, float]]]) -> dict[str, list[tuple[int, float]]]:
    """Turn steps into one list of steps and values a name."""
    named: dict[str, list[tuple[int, float]]] = {}
    for step, values in steps:
        for name, value in values.items():
            named.setdefault(name, []).append((step, value))
    return named


def test_training_and_evaluation_of_each_round_are_logged() -> None:
    kept = Keeps()
    strategy = DeepCABACStrategy(evaluated(), EXACT, loggers=[kept])
    start(strategy)
    assert [step for step, _ in kept.steps] == [1, 1, 2, 2]
    train, evaluate = kept.steps[2][1], kept.steps[3][1]
    totals = strategy.communication.rounds[1].totals("train")
    assert train["communication/train/uplink_packet_bytes"] == totals.uplink_packet_bytes > 0
    assert train["communication/train/warm"] == N_NODES
    assert train["communication/train/uplink_ratio"] == totals.uplink_ratio
    assert train["communication/train/encode_seconds"] == totals.encode_seconds > 0
    assert train["communication/train/decode_seconds"] == totals.decode_seconds > 0
    both = totals.uplink_wire_bytes + totals.downlink_wire_bytes
    assert train["communication/train/total_wire_bytes"] == both
    assert train["train/train_loss"] > 0
    assert not any("deepcabac" in name for name in train)
    assert evaluate["evaluate/loss"] > 0
    assert evaluate["communication/evaluate/downlink_raw_bytes"] > 0
    assert all(type(value) is float for value in {**train, **evaluate}.values())


def test_phases_without_messages_are_not_logged() -> None:
    kept = Keeps()
    start(DeepCABACStrategy(fedavg(), EXACT, loggers=[kept]))
    assert [step for step, _ in kept.steps] == [1, 2]


def test_a_mixin_takes_loggers_too() -> None:
    class Mine(DeepCABACStrategyMixin, FedAvg):
        pass

    kept = Keeps()
    strategy = Mine(min_available_nodes=N_NODES, min_train_nodes=N_NODES, codec=EXACT)
    strategy.loggers.append(kept)
    start(strategy, 1)
    assert [step for step, _ in kept.steps] == [1, 1]


def test_a_logger_that_raises_costs_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    broken, kept = Breaks(), Keeps()
    strategy = DeepCABACStrategy(evaluated(), EXACT, loggers=[broken, kept])
    start(strategy)
    assert len(broken.steps) == len(kept.steps) == 4
    warnings = [row.getMessage() for row in caplog.records if row.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "round 1: Breaks lost its values" in warnings[0]
    assert "OSError: no route to host" in warnings[0]


@pytest.mark.parametrize("wrong", [3, "runs/tb", JsonLinesLogger, Keeps])
def test_something_else_is_refused_before_the_run(wrong: Any) -> None:
    with pytest.raises(TypeError, match="expected objects with log_round and close"):
        DeepCABACStrategy(fedavg(), loggers=[wrong])


def test_metrics_that_are_lists_are_logged_one_by_one() -> None:
    values = round_values(
        RoundRecord(3), "evaluate", MetricRecord({"per-class": [0.5, 1.0], "n": 7})
    )
    ours = {name: value for name, value in values.items() if name.startswith("evaluate/")}
    assert ours == {"evaluate/per-class/0": 0.5, "evaluate/per-class/1": 1.0, "evaluate/n": 7.0}


def test_json_lines_hold_all_values_and_go_on(tmp_path: Path) -> None:
    path = tmp_path / "rounds.jsonl"
    steps = run_with(JsonLinesLogger(path))
    again = JsonLinesLogger(path)
    again.log_round(3, {"train/loss": math.nan, "train/count": 1.0})
    again.close()
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert rows[:-1] == [{"server_round": step, **values} for step, values in steps]
    assert rows[-1] == {"server_round": 3, "train/loss": None, "train/count": 1.0}


def test_json_lines_complain_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        JsonLinesLogger(tmp_path / "nowhere" / "rounds.jsonl")


def test_tensorboard_shows_all_values(tmp_path: Path) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason=ABSENT.format("tensorboard"),
    )
    logger = TensorBoardLogger(tmp_path / "tb")
    expected = columns(run_with(logger))
    # Before it is closed: a run that is killed has written its rounds.
    events = accumulator.EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    logger.close()
    assert set(events.Tags()["scalars"]) == set(expected)
    for name, points in expected.items():
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert found == [(step, pytest.approx(value)) for step, value in points]


@pytest.mark.filterwarnings("default")
def test_mlflow_has_all_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason=ABSENT.format("mlflow"))
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    uri = (tmp_path / "mlruns").as_uri()
    logger = MLflowLogger(uri, experiment="federated", run_name="first")
    expected = columns(run_with(logger))
    logger.log_round(3, {"train/acc@5 (%)": 1.0})
    client = mlflow.MlflowClient(tracking_uri=uri)
    assert client.get_run(logger.run_id).info.status == "RUNNING"
    logger.close()
    run = client.get_run(logger.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "first")
    assert set(run.data.metrics) == {*expected, "train/acc_5 ___"}
    for name, points in expected.items():
        history = client.get_metric_history(logger.run_id, name)
        assert [(point.step, point.value) for point in history] == points
    # The experiment is found again, and no run of the program's own was started.
    second = MLflowLogger(uri, experiment="federated")
    assert client.get_run(second.run_id).info.experiment_id == run.info.experiment_id
    assert mlflow.active_run() is None


@pytest.mark.filterwarnings("default")
def test_wandb_has_all_values(tmp_path: Path) -> None:
    wandb = pytest.importorskip("wandb", reason=ABSENT.format("wandb"))
    quiet = wandb.Settings(silent=True)
    logger = WandbLogger("federated", mode="offline", dir=str(tmp_path), settings=quiet)
    steps = run_with(logger)
    assert wandb.run is None
    logger.close()
    [path] = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    rows = list(wandb_history(path.read_bytes()))
    expected: dict[int, dict[str, float]] = {}
    for step, values in steps:
        expected.setdefault(step, {}).update(values)
    assert [row["_step"] for row in rows] == list(expected)
    for row, values in zip(rows, expected.values(), strict=True):
        assert {name: row[name] for name in values} == values


def wandb_history(content: bytes) -> Iterator[dict[str, Any]]:
    """Yield the history in a file of wandb: blocks of records that each have a head of 7 bytes.

    The head is a checksum, a length and whether the record is whole (1), or begins, goes on or ends
    here (2, 3, 4); LevelDB's log format. Seven bytes of the first block are wandb's own.
    """
    internal = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    place, gathered = 7, b""
    while place + 7 <= len(content):
        if (left := 2**15 - place % 2**15) < 7:
            place += left
            continue
        _, n_bytes, kind = struct.unpack_from("<IHB", content, place)
        gathered += content[place + 7 : place + 7 + n_bytes]
        place += 7 + n_bytes
        if kind in {1, 4}:
            record = internal.Record.FromString(gathered)
            gathered = b""
            if record.WhichOneof("record_type") == "history":
                yield {
                    item.key or "/".join(item.nested_key): json.loads(item.value_json)
                    for item in record.history.item
                }


@pytest.mark.parametrize("extra", ["tensorboard", "mlflow", "wandb"])
def test_an_absent_package_is_named_with_its_extra(
    extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    makers: dict[str, Any] = {
        "tensorboard": lambda: TensorBoardLogger("never-made"),
        "mlflow": MLflowLogger,
        "wandb": lambda: WandbLogger("federated"),
    }
    hide(extra, monkeypatch)
    with pytest.raises(ModuleNotFoundError, match=rf"pip install 'fl-deepcabac\[{extra}\]'"):
        makers[extra]()


def test_other_failures_of_an_import_are_not_explained_away() -> None:
    with pytest.raises(ImportError, match="shared library"), needs_extra("wandb"):
        raise ImportError("shared library is missing")
