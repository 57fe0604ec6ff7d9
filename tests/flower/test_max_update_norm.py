# SPDX-License-Identifier: Apache-2.0
"""A strategy that is told how long an update may be: one that is longer is its node's error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flower.four_nodes import N_NODES, codings, fedavg, first_node_in_round, rows_of
from flower.inprocess_grid import ChangesReplies, InProcessGrid
from flower.toy import EXACT, MODS, Arrays, arrays_of, initial_arrays, make_app, train_in_steps
from flwr.app import Array, ArrayRecord, Message

from fl_deepcabac import ConfigError
from fl_deepcabac.flower import DeepCABACStrategy


def train_absurdly(weights: Arrays, rng: np.random.Generator) -> Arrays:
    """Train as ever, but for one weight."""
    trained = train_in_steps(weights, rng)
    trained["fc.weight"][0, 0] = 4096.0
    return trained


def run_with(train: Any, mods: Any, limit: float | None) -> tuple[DeepCABACStrategy, Arrays]:
    strategy = DeepCABACStrategy(fedavg(), EXACT, max_update_norm=limit)
    apps = [make_app(train=train, mods=mods), *(make_app() for _ in range(N_NODES - 1))]
    result = strategy.start(InProcessGrid(apps), initial_arrays(), num_rounds=3)
    return strategy, arrays_of(result.arrays)


@pytest.mark.parametrize("mods", [MODS, ()], ids=["compressed", "uncompressed"])
def test_absurd_updates_are_their_node_s_errors(mods: Any) -> None:
    strategy, arrays = run_with(train_absurdly, mods, 100.0)
    for row in rows_of(strategy, 0):
        assert row.failure is not None
        assert row.failure.startswith("UpdateNormError: update: expected a norm of at most 100")
    assert codings(strategy, 1) == ["fresh", "warm", "warm"]
    assert max(np.abs(tensor).max() for tensor in arrays.values()) < 2
    # Without a limit the average is what one node made of it.
    _, arrays = run_with(train_absurdly, mods, None)
    assert arrays["fc.weight"][0, 0] > 500


@pytest.mark.parametrize("mods", [MODS, ()], ids=["compressed", "uncompressed"])
def test_ordinary_updates_pass(mods: Any) -> None:
    strategy, limited = run_with(train_in_steps, mods, 100.0)
    assert not any(row.failure for row in rows_of(strategy, 0))
    _, free = run_with(train_in_steps, mods, None)
    # Nodes are sampled in any order, in which their weights are summed.
    for name, tensor in free.items():
        np.testing.assert_allclose(limited[name], tensor, atol=1e-6)


@pytest.mark.parametrize("data", [b"", b"\x93NUMPY\x01\0", b"PK\x05\x06" + bytes(18)])
def test_weights_that_numpy_cannot_read_are_their_node_s_error_with_a_limit_too(
    data: bytes,
) -> None:
    def unreadable(reply: Message) -> Message:
        bias = Array("float32", (24,), "numpy.ndarray", data)
        reply.content["arrays"] = ArrayRecord({"fc.bias": bias})
        return reply

    strategy = DeepCABACStrategy(fedavg(), EXACT, max_update_norm=100.0)
    faults = ChangesReplies(first_node_in_round(1), unreadable)
    apps = [make_app() for _ in range(N_NODES)]
    strategy.start(InProcessGrid(apps, faults=faults), initial_arrays(), num_rounds=2)
    assert str(rows_of(strategy, 0)[0].failure).startswith("CorruptPacketError: array 'fc.bias'")
    assert codings(strategy, 1) == ["fresh", "warm"]


def test_a_limit_is_checked_when_it_is_set() -> None:
    with pytest.raises(ConfigError, match="max_update_norm"):
        DeepCABACStrategy(fedavg(), EXACT, max_update_norm=0.0)
