# SPDX-License-Identifier: Apache-2.0
"""What steps depend on, from one process to the next."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flower.downlink_run import bytes_of
from flower.four_nodes import N_NODES
from flower.inprocess_grid import InProcessGrid
from flower.test_checkpoint import ALL, comparable, make_grid, model
from flower.toy import Arrays, arrays_of, make_app
from flwr.serverapp.strategy import FedAvg

from fl_deepcabac import CheckpointError
from fl_deepcabac.flower import DeepCABACStrategy, default_config


def test_what_steps_depend_on_comes_back(tmp_path: Path) -> None:
    def build() -> DeepCABACStrategy:
        return DeepCABACStrategy(FedAvg(**ALL), default_config(FedAvg(), "smallest"))

    def grid() -> InProcessGrid:
        return InProcessGrid([make_app(train=anew) for _ in range(N_NODES)])

    def anew(weights: Arrays, rng: np.random.Generator) -> Arrays:
        return {
            key: (rng.normal(0, 0.01, value.shape) if value.dtype.kind == "f" else value).astype(
                value.dtype
            )
            for key, value in weights.items()
        }

    random.seed(1)
    whole = build()
    expected = whole.start(grid(), model(), num_rounds=5)
    random.seed(1)
    nodes, path = grid(), tmp_path / "run.checkpoint"
    first = build()
    first.start(nodes, model(), num_rounds=3)
    first.save(path)
    assert first._codec_endpoint.steps.to_plain()["factor"] < 1.0
    second = build()
    result = second.start(nodes, second.load(path).arrays, num_rounds=2)
    assert bytes_of(arrays_of(result.arrays)) == bytes_of(arrays_of(expected.arrays))
    assert comparable(second) == comparable(whole)


@pytest.mark.parametrize(
    "learnt",
    [
        {},
        {"weights": {}, "parts": [0.0], "factor": 1.0, "movement": {}},
        {"weights": {}, "parts": [], "factor": 2.0, "movement": {}},
        {"weights": {}, "parts": [], "factor": 1.0, "movement": {"w": np.zeros((2, 2))}},
        {"weights": None, "parts": [], "factor": 1.0, "movement": {}},
    ],
)
def test_what_steps_cannot_depend_on_is_refused(tmp_path: Path, learnt: dict[str, Any]) -> None:
    strategy, path = DeepCABACStrategy(FedAvg(**ALL)), tmp_path / "run.checkpoint"
    strategy.start(make_grid(), model(), num_rounds=1)
    strategy._codec_endpoint.steps.to_plain = lambda: learnt  # type: ignore[method-assign]
    strategy.save(path)
    with pytest.raises(CheckpointError, match="sections as this version writes them"):
        DeepCABACStrategy(FedAvg(**ALL)).load(path)
