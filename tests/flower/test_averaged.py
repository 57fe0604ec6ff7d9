# SPDX-License-Identifier: Apache-2.0
"""Steps that grow with the number of clients that a round averages."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from flower.four_nodes import fedavg, run
from flower.inprocess_grid import Faults, Node
from flwr.app import Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg, FedMedian

from fl_deepcabac import CodecConfig
from fl_deepcabac.flower import DeepCABACStrategy
from fl_deepcabac.flower.averaged import AveragedClients, effective_number
from fl_deepcabac.flower.records import SETTINGS_KEY, settings_of

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
    assert endpoint._averaged._weight_key == "train_loss"


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


def test_where_one_client_has_nearly_all_samples_it_is_one() -> None:
    averaged = AveragedClients("n")
    assert averaged.expect(10) == 5.0
    averaged.note([reply(n=1e6), *(reply(n=1.0) for _ in range(9))])
    assert averaged.expect(10) == pytest.approx(1.0, rel=1e-3)
    # Nor less, however few are asked.
    assert averaged.expect(1) == 1.0


def test_replies_that_name_no_weight_count_alike() -> None:
    averaged = AveragedClients("n")
    averaged.expect(8)
    averaged.note([reply(other=3.0) for _ in range(4)])
    assert averaged.expect(8) == 4.0
    averaged.note([])
    assert averaged.expect(8) == 4.0
    # More replies than were asked for, as in a loop of one's own, are not more than all.
    averaged.expect(2)
    averaged.note([reply(n=1.0) for _ in range(4)])
    assert averaged.expect(2) == 2.0


def test_summary_says_what_the_step_goes_with(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    DeepCABACStrategy(FedAvg(), PER_CLIENT).summary()
    assert "8 x RMS of each tensor, for each client averaged" in caplog.text


def test_selective_strategies_are_warned_of_it(caplog: pytest.LogCaptureFixture) -> None:
    DeepCABACStrategy(FedMedian(), PER_CLIENT)
    assert "expected a strategy that averages all updates" in caplog.text
