# SPDX-License-Identifier: Apache-2.0
"""Steps that grow with the number of clients averaged, and shrink where noise is undone."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from flower.four_nodes import fedavg, run
from flower.inprocess_grid import Faults, InProcessGrid, Node
from flower.toy import Arrays, arrays_of, initial_arrays, make_app, record_of
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg, FedMedian

from fl_deepcabac import CodecConfig
from fl_deepcabac.config import Quality
from fl_deepcabac.flower import DeepCABACStrategy, default_config
from fl_deepcabac.flower.records import SETTINGS_KEY, settings_of
from fl_deepcabac.flower.step_control import StepControl, effective_number, pull_back

PER_CLIENT = CodecConfig(relative_step_per_client=8.0, quantizer="stochastic")
ALL, NONE = (0, 1, 2, 3), ()


@dataclass
class Watches(Faults):
    """Notes the settings that travel, and loses replies by round."""

    lost: dict[int, tuple[int, ...]] = field(default_factory=dict)
    settings: dict[int, list[dict[str, Any]]] = field(default_factory=dict)

    def before_training(self, node: Node, message: Message, server_round: int) -> Message | None:
        del node
        record = settings_of(message.content)
        assert record is not None
        config = json.loads(str(record[SETTINGS_KEY]))["config"]
        self.settings.setdefault(server_round, []).append(config)
        return message

    def after_training(self, node: Node, reply: Message, server_round: int) -> Message | None:
        return None if node.partition_id in self.lost.get(server_round, NONE) else reply

    def steps(self) -> list[float]:
        """Return the one relative step of each round."""
        found = []
        for configs in self.settings.values():
            assert "relative_step_per_client" not in configs[0]
            [step] = {config["relative_step"] for config in configs}
            found.append(step)
        return found


def test_step_follows_the_weights_of_the_replies_of_the_round_before() -> None:
    faults = Watches(lost={2: (0, 1), 4: ALL})
    strategy, _, _ = run(faults, config=PER_CLIENT, num_rounds=5)
    # Weights of 10, 11, 12 and 13 count as 3.96 equal ones, the last two of them as 1.997; what no
    # reply tells leaves things as they are.
    assert faults.steps() == [16.0, 31.7, 15.97, 31.7, 31.7]
    totals = strategy.communication.totals
    assert (totals.failures, totals.fresh + totals.warm) == (2 + 4, 4 + 2 + 4 + 0 + 4)


def test_a_key_of_the_strategys_own_names_the_weights() -> None:
    inner = fedavg(weighted_by_key="train_loss")
    for strategy in (inner, DeepCABACStrategy(inner, PER_CLIENT)):
        assert strategy.weighted_by_key == "train_loss"
    endpoint = DeepCABACStrategy(inner, PER_CLIENT)._codec_endpoint
    assert endpoint.steps._weight_key == "train_loss"


def test_steps_of_their_own_travel_as_they_are() -> None:
    faults = Watches()
    run(faults, config=CodecConfig(relative_step=3.0), num_rounds=2)
    assert faults.steps() == [3.0, 3.0]


def reply(**metrics: float) -> Message:
    content = RecordDict({"metrics": MetricRecord(metrics)})  # type: ignore[arg-type]
    return Message(content, dst_node_id=1, message_type="train")


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([], 0.0),
        ([5.0], 1.0),
        ([1e300, 1e300], 2.0),
        ([0.0, 3.0, 3.0], 2.0),
        ([-1.0, float("nan"), float("inf"), 2.0], 1.0),
        ([0.0], 0.0),
    ],
)
def test_effective_number_of_odd_weights(weights: list[float], expected: float) -> None:
    assert effective_number(weights) == pytest.approx(expected)


def steps_of(control: StepControl, n_asked: int) -> float:
    step = control.config_for(n_asked).relative_step
    assert step is not None
    return step


def test_where_one_client_has_nearly_all_samples_it_is_one() -> None:
    control = StepControl(PER_CLIENT, weight_key="n")
    assert steps_of(control, 10) == 5 * 8.0
    control.note_replies([reply(n=1e6), *(reply(n=1.0) for _ in range(9))])
    assert steps_of(control, 10) == 8.0
    # Nor less, however few are asked.
    assert steps_of(control, 1) == 8.0


def test_replies_that_name_no_weight_count_alike() -> None:
    control = StepControl(PER_CLIENT, weight_key="n")
    steps_of(control, 8)
    control.note_replies([reply(other=3.0) for _ in range(4)])
    assert steps_of(control, 8) == 4 * 8.0
    control.note_replies([])
    assert steps_of(control, 8) == 4 * 8.0
    # More replies than were asked for, as in a loop of one's own, are not more than all.
    steps_of(control, 2)
    control.note_replies([reply(n=1.0) for _ in range(4)])
    assert steps_of(control, 2) == 2 * 8.0


def model(*values: float) -> ArrayRecord:
    return record_of({"w": np.array([values], np.float32), "n": np.array([7])})


def test_steps_halve_where_noise_is_undone_and_recover_slowly() -> None:
    control = StepControl(PER_CLIENT, weight_key="n")
    steps_of(control, 1)
    control.note_replies([reply(n=1.0)])
    found = []
    # Back and forth five times, then straight on.
    places = [0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    for before, after in pairwise(places):
        control.note_sent(model(before, 0.0))
        control.note_aggregated(model(after, 0.0))
        found.append(steps_of(control, 1))
    assert found[:5] == [8.0, 4.0, 2.0, 1.0, 1.0]
    assert found[5:] == pytest.approx([2.0 ** min(3, n / 2) for n in range(1, 8)], rel=1e-3)


def test_rounds_without_a_model_and_models_of_other_shapes_teach_nothing() -> None:
    control = StepControl(PER_CLIENT, weight_key="n")
    control.note_aggregated(model(1.0))
    for before, after in [(0.0, 1.0), (1.0, 0.0)]:
        control.note_sent(model(before))
        control.note_aggregated(model(after, 3.0))
    control.note_sent(model(float("nan")))
    control.note_aggregated(model(float("inf")))
    control.note_sent(model(0.0))
    control.note_aggregated(model(0.0))
    assert steps_of(control, 2) == 8.0


def test_of_a_large_model_an_even_part_is_looked_at() -> None:
    control = StepControl(PER_CLIENT, weight_key="n")
    control.note_sent(record_of({"w": np.zeros((3, 2**22), np.float32)}))
    assert control._before is not None
    assert 2**21 < control._before.size <= 2**22


def test_pull_back_of_nothing_is_nothing() -> None:
    zeros = np.zeros(3, np.float32)
    assert (
        pull_back(zeros, zeros) == pull_back(zeros + 1, zeros) == pull_back(zeros, zeros + 1) == 0
    )
    assert pull_back(zeros + np.float32("nan"), zeros) == 0.0


def to_own_optimum(weights: Arrays, rng: np.random.Generator) -> Arrays:
    """Train to the end, each node to an optimum near zero of its own: convex, many epochs."""
    return {
        name: rng.normal(0, 0.01, tensor.shape).astype(tensor.dtype)
        for name, tensor in weights.items()
    }


@pytest.mark.parametrize("quality", ["near-lossless", "balanced", "smallest"])
def test_noise_does_not_grow_where_clients_train_to_the_end(quality: Quality) -> None:
    def distance_after(config: CodecConfig) -> float:
        apps = [make_app(train=to_own_optimum) for _ in range(4)]
        strategy = DeepCABACStrategy(fedavg(), config)
        arrays = strategy.start(InProcessGrid(apps), initial_arrays(), num_rounds=25).arrays
        return float(np.sqrt(sum(np.square(array).sum() for array in arrays_of(arrays).values())))

    config = default_config(fedavg(), quality)
    start = float(np.sqrt(sum(np.square(a).sum() for a in arrays_of(initial_arrays()).values())))
    assert distance_after(config) < 0.3 * start
    if quality == "smallest":
        # What would happen if nobody watched.
        assert distance_after(config.for_clients(4)) > 100 * start


def test_summary_says_what_the_step_goes_with(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    DeepCABACStrategy(FedAvg(), PER_CLIENT).summary()
    assert "8 x RMS of each tensor, for each client averaged" in caplog.text


def test_selective_strategies_are_warned_of_it(caplog: pytest.LogCaptureFixture) -> None:
    DeepCABACStrategy(FedMedian(), PER_CLIENT)
    assert "expected a strategy that averages all updates" in caplog.text
