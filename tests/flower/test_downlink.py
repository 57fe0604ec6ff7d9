# SPDX-License-Identifier: Apache-2.0
"""The way down: nodes hold the broadcast model, bit for bit, and get no more than they need."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flower.downlink_run import bytes_of, packet_bytes, run
from flower.four_nodes import N_NODES, fedavg, rows_of
from flower.toy import Arrays, arrays_of, initial_arrays, record_of
from flwr.serverapp.strategy import FedAdam

from fl_deepcabac import CodecConfig
from fl_deepcabac.errors import ConfigError
from fl_deepcabac.flower import DeepCABACStrategy, DownlinkConfig
from fl_deepcabac.flower.model_copy import COPY_PREFIX


@pytest.mark.parametrize("exact", [False, True])
def test_nodes_train_from_what_the_strategy_works_with(exact: bool) -> None:
    strategy, _, seen, _ = run(DownlinkConfig(exact_keyframes=exact))
    assert strategy.communication.totals.failures == 0
    for server_round, weights in seen.by_strategy.items():
        for partition in range(N_NODES):
            assert bytes_of(seen.by_node[partition, server_round]) == bytes_of(weights)


def test_a_model_that_a_node_holds_takes_no_bytes() -> None:
    strategy, _, _, _ = run()
    raw = rows_of(strategy, 0)[0].downlink_raw_bytes
    for partition in range(N_NODES):
        first, *later = packet_bytes(strategy, partition, "train")
        assert 0 < first < raw / 3
        assert later == [0, 0, 0]
        assert all(0 < n < first for n in packet_bytes(strategy, partition, "evaluate"))


def test_nothing_that_quantisation_leaves_out_is_lost() -> None:
    rng = np.random.default_rng(8)
    model = initial_arrays(100)
    # Most weights move by far less than a step of the way down, always the same way.
    pace = {n: 0.01 * rng.standard_t(2, a.shape) ** 3 for n, a in arrays_of(model).items()}

    def train(weights: Arrays, _: np.random.Generator) -> Arrays:
        return {name: (w + pace[name]).astype(np.float32) for name, w in weights.items()}

    fine = CodecConfig(step=1e-5)
    _, _, seen, final = run(
        DownlinkConfig(relative_step=8.0), codec=fine, model=model, num_rounds=10, train=train
    )
    for name, tensor in arrays_of(final).items():
        wanted = model[name].numpy() + 10 * pace[name]
        np.testing.assert_allclose(tensor, wanted, rtol=1e-4, atol=1e-3)
        lag = np.abs(seen.by_strategy[10][name] - (wanted - pace[name]))
        step = 8.0 * np.sqrt(np.mean(pace[name] ** 2))
        assert lag.max() < 3 * step


def test_exact_keyframes_hand_the_first_model_on_as_it_is() -> None:
    model = initial_arrays(40)
    _, _, seen, _ = run(DownlinkConfig(exact_keyframes=True), model=model, num_rounds=1)
    assert bytes_of(seen.by_node[0, 1]) == bytes_of(arrays_of(model))


def test_models_above_the_limit_are_not_kept() -> None:
    strategy, grid, seen, _ = run(DownlinkConfig(client_copy_bytes=100))
    for node in grid.nodes.values():
        assert not [name for name in node.context.state if name.startswith(COPY_PREFIX)]
    assert min(packet_bytes(strategy, 0, "train")) > 0
    assert bytes_of(seen.by_node[0, 4]) == bytes_of(seen.by_strategy[4])


def test_every_dtype_travels() -> None:
    rng = np.random.default_rng(4)
    model = record_of(
        {
            "half": rng.normal(0, 1, (20, 30)).astype(np.float16),
            "single": rng.normal(0, 0.1, (30, 30)).astype(np.float32),
            "double": rng.normal(0, 0.1, (30, 10)).astype(np.float64),
            "empty": np.zeros((0, 3), np.float32),
            "count": np.array(7, np.int64),
            "scalar": np.array(0.1, np.float32),
            "flags": np.array([True, False]),
        }
    )
    strategy, _, seen, _ = run(model=model, num_rounds=5)
    assert strategy.communication.totals.failures == 0
    for server_round in range(1, 6):
        got = seen.by_node[2, server_round]
        assert {name: array.dtype for name, array in got.items()} == {
            name: array.numpy().dtype for name, array in model.items()
        }
        assert bytes_of(got) == bytes_of(seen.by_strategy[server_round])


def test_strategies_that_keep_the_model_keep_what_nodes_hold() -> None:
    counts = {"min_available_nodes": N_NODES, "min_train_nodes": N_NODES}
    inner = FedAdam(**counts, fraction_evaluate=0.0, eta=0.01)
    strategy, _, seen, _ = run(inner=inner, num_rounds=4)
    assert strategy.communication.totals.failures == 0
    assert bytes_of(seen.by_node[1, 4]) == bytes_of(seen.by_strategy[4])
    assert strategy.communication.totals.downlink_ratio > 4


@pytest.mark.parametrize(
    "settings",
    [
        {"relative_step": 0.0},
        {"keyframe_relative_step": 2.0},
        {"keyframe_relative_step": True},
        {"exact_keyframes": 1},
        {"profile": "slow"},
        {"client_copy_bytes": -1},
        {"client_copy_bytes": "1 MB"},
        {"threads": 0},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        DownlinkConfig(**settings)


def test_another_type_of_settings_is_refused() -> None:
    with pytest.raises(TypeError, match="downlink: expected a DownlinkConfig, found bool"):
        DeepCABACStrategy(fedavg(), downlink=True)  # type: ignore[arg-type]
