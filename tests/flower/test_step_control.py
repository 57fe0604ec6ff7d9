# SPDX-License-Identifier: Apache-2.0
"""Steps that grow with the number of clients averaged, and shrink where noise is undone."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
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
    # Weights of 10, 11, 12 and 13 count as 3.96 equal ones. Half of the replies lost make three
    # rounds expect half of them; a round without any tells nothing.
    assert faults.steps() == [16.0, 31.7, 15.85, 15.85, 15.85]
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


def asked(n: int, message_type: str = "train") -> list[Message]:
    return [Message(RecordDict(), dst_node_id=i, message_type=message_type) for i in range(n)]


def replies(messages: list[Message], **metrics: list[float]) -> list[Message]:
    """Return a reply to each message that there is a value for."""
    [(key, values)] = metrics.items()
    return [
        Message(RecordDict({"metrics": MetricRecord({key: value})}), reply_to=message)
        for message, value in zip(messages, values, strict=False)
    ]


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


def step_for(control: StepControl, messages: list[Message]) -> float:
    step = control.config_for(messages).relative_step
    assert step is not None
    return step


def test_where_one_client_has_nearly_all_samples_it_is_one() -> None:
    control = StepControl(PER_CLIENT, weight_key="n")
    messages = asked(10)
    assert step_for(control, messages) == 5 * 8.0
    control.note_replies(replies(messages, n=[1e6, *[1.0] * 9]))
    assert step_for(control, messages) == 8.0
    # Those who are asked now count, not those of the round before.
    assert step_for(control, messages[1:]) == 9 * 8.0
    # Nor less, however few are asked.
    assert step_for(control, messages[:1]) == 8.0


def test_nodes_that_have_not_replied_yet_count_as_the_usual_one() -> None:
    control = StepControl(PER_CLIENT, weight_key="n")
    messages = asked(4)
    step_for(control, messages[:2])
    control.note_replies(replies(messages[:2], n=[1.0, 3.0]))
    assert step_for(control, messages) == pytest.approx(8.0 * 8**2 / (1 + 9 + 4 + 4), rel=1e-3)


def test_replies_that_name_no_weight_count_alike() -> None:
    control = StepControl(PER_CLIENT, weight_key="n")
    messages = asked(8)
    step_for(control, messages)
    control.note_replies(replies(messages[:4], other=[3.0, 2.0, 1.0, 9.0]))
    assert step_for(control, messages) == 4 * 8.0
    control.note_replies([])
    assert step_for(control, messages) == 4 * 8.0
    # A loss is remembered for three rounds.
    for _ in range(3):
        control.note_replies(replies(messages, n=[1.0] * 8))
    assert step_for(control, messages) == 8 * 8.0


def test_no_more_clients_are_counted_than_have_been_tried() -> None:
    control = StepControl(PER_CLIENT, weight_key="n")
    assert step_for(control, asked(1000)) == 20 * 8.0


def test_models_that_are_trained_side_by_side_are_averages_of_their_own() -> None:
    control = StepControl(PER_CLIENT, weight_key="n")
    messages = [*asked(6, "train.generator"), *asked(4, "train.critic")]
    step_for(control, messages)
    control.note_replies(replies(messages, n=[1.0] * 10))
    assert step_for(control, messages) == 4 * 8.0


def model(*values: float) -> ArrayRecord:
    return record_of({"w": np.array([values], np.float32), "n": np.array([7])})


def walk(control: StepControl, *places: float) -> list[float]:
    """Return the step for each client after each move of the model."""
    found = []
    for before, after in pairwise(places):
        control.note_sent(model(before, 0.0))
        control.note_aggregated(model(after, 0.0))
        assert control.step_per_client is not None
        found.append(control.step_per_client)
    return found


def test_steps_halve_where_noise_is_undone_and_recover_slowly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    # Back and forth five times, then straight on.
    control = StepControl(PER_CLIENT, weight_key="n")
    found = walk(control, 0, 1, 0, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8)
    assert found[:5] == [8.0, 4.0, 2.0, 1.0, 1.0]
    assert found[5:] == pytest.approx([2.0 ** min(3, n / 2) for n in range(1, 8)])
    assert "takes 100 % of the last movement back" in caplog.text
    assert caplog.text.count("falls from") == 3


def test_what_is_taken_back_counts_the_more_the_coarser_the_step() -> None:
    # 0.15: too much at eight, where 0.068 is, and at four, 0.12; at two, 0.19, not yet.
    for whole, expected in [(8.0, 4.0), (4.0, 2.0), (2.0, 2.0), (1.0, 1.0), (0.25, 0.25)]:
        config = replace(PER_CLIENT, relative_step_per_client=whole)
        assert walk(StepControl(config, weight_key="n"), 0.0, 1.0, 0.85)[-1] == expected
    # A step of one or less never lets noise grow, and is never halved.
    assert walk(StepControl(config, weight_key="n"), 0, 1, 0, 1, 0)[-1] == 0.25


def test_rounds_that_teach_nothing_change_nothing() -> None:
    control = StepControl(PER_CLIENT, weight_key="n")
    control.note_aggregated(model(1.0))
    assert walk(control, 0, 1, 0)[-1] == 4.0
    # Not moved, no number, another model, one of integers.
    for before, after in [
        (model(0.0), model(0.0)),
        (model(float("nan")), model(1.0)),
        (model(0.0), model(float("inf"))),
        (model(0.0), model(0.0, 1.0)),
        (record_of({"n": np.array([7])}), record_of({"n": np.array([8])})),
    ]:
        control.note_sent(before)
        control.note_aggregated(after)
    assert control.step_per_client == 4.0
    assert walk(control, 0, 1)[-1] == 2.0


def test_weights_are_matched_by_name_and_each_tensor_counts_by_its_size() -> None:
    control = StepControl(PER_CLIENT, weight_key="n")
    values = {"a": np.float32([1, 2, 3]), "b": np.float32([0]), "bn.running_var": np.float32([5])}
    far = {"a": -values["a"], "b": np.float32([1e6]), "bn.running_var": np.float32([1e9])}
    for before, after in [(values, far), (far, dict(reversed(values.items())))]:
        control.note_sent(record_of(before))
        control.note_aggregated(record_of({**after, "bn.running_var": far["bn.running_var"]}))
    assert control.step_per_client == 4.0


def test_of_a_large_model_an_even_part_is_looked_at() -> None:
    control = StepControl(PER_CLIENT, weight_key="n")
    control.note_sent(record_of({"w": np.zeros((3, 2**22), np.float32)}))
    assert 2**21 < control._before["w"].size <= 2**22


def test_pull_back_of_nothing_is_nothing() -> None:
    zeros, ones = {"w": np.zeros(3, np.float32)}, {"w": np.ones(3, np.float32)}
    nans = {"w": np.full(3, np.nan, np.float32)}
    pairs = [(zeros, zeros), (ones, zeros), (zeros, ones), (nans, ones), (ones, nans), ({}, ones)]
    assert all(pull_back(earlier, later) == 0.0 for earlier, later in pairs)


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
