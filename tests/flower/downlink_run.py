# SPDX-License-Identifier: Apache-2.0
"""Runs with a compressed way down, and what everybody saw in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flower.four_nodes import N_NODES, fedavg, rows_of
from flower.inprocess_grid import Faults, InProcessGrid
from flower.toy import Arrays, arrays_of, initial_arrays, make_app
from flwr.app import ArrayRecord

from fl_deepcabac import CodecConfig
from fl_deepcabac.flower import DeepCABACStrategy, DownlinkConfig

CODEC = CodecConfig(relative_step=2.0)


@dataclass
class Seen:
    """What apps got to train from, and what the inner strategy worked with, by round."""

    by_node: dict[tuple[int, int], Arrays] = field(default_factory=dict)
    by_strategy: dict[int, Arrays] = field(default_factory=dict)


def watching(inner: Any, seen: Seen) -> Any:
    configure = inner.configure_train

    def watched(server_round: int, arrays: ArrayRecord, *rest: Any) -> Any:
        seen.by_strategy[server_round] = arrays_of(arrays)
        return configure(server_round, arrays, *rest)

    inner.configure_train = watched
    return inner


def run(
    downlink: DownlinkConfig | None = None,
    faults: Faults | None = None,
    *,
    codec: CodecConfig = CODEC,
    num_rounds: int = 4,
    model: ArrayRecord | None = None,
    inner: Any = None,
    train: Callable[[Arrays, np.random.Generator], Arrays] | None = None,
    **grid_settings: Any,
) -> tuple[DeepCABACStrategy, InProcessGrid, Seen, ArrayRecord]:
    seen = Seen()
    inner = inner or fedavg(fraction_evaluate=1.0, min_evaluate_nodes=N_NODES)
    strategy = DeepCABACStrategy(
        watching(inner, seen), codec, downlink=downlink or DownlinkConfig()
    )

    def remembering(partition: int) -> Callable[[Arrays, np.random.Generator], Arrays]:
        n_trained = [0]

        def trained(weights: Arrays, rng: np.random.Generator) -> Arrays:
            n_trained[0] += 1
            seen.by_node[partition, n_trained[0]] = {k: v.copy() for k, v in weights.items()}
            return (train or drift)(weights, rng)

        return trained

    apps = [make_app(train=remembering(i)) for i in range(N_NODES)]
    grid = InProcessGrid(apps, faults=faults or Faults(), **grid_settings)
    result = strategy.start(grid, model or initial_arrays(100), num_rounds=num_rounds)
    return strategy, grid, seen, result.arrays


def drift(weights: Arrays, rng: np.random.Generator) -> Arrays:
    """Move floats by noise of no grid, and count integers up."""
    moved = {}
    for name, tensor in weights.items():
        change = (
            rng.standard_t(3, tensor.shape) * 0.01
            if tensor.dtype.kind == "f"
            else np.ones(tensor.shape)
        )
        moved[name] = np.asarray(tensor + change).astype(tensor.dtype)
    return moved


def bytes_of(arrays: Arrays) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in arrays.items()}


def packet_bytes(strategy: DeepCABACStrategy, partition: int, phase: str) -> list[int]:
    return [row.downlink_packet_bytes for row in rows_of(strategy, partition) if row.phase == phase]
