# SPDX-License-Identifier: Apache-2.0
"""The model and its training: weights walk towards targets, most of which the nodes share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

# 197,120 weights: large enough for packets to outweigh Flower's envelope, small enough for seconds.
SHAPES = {
    "fc1.weight": (256, 512),
    "fc1.bias": (256,),
    "fc2.weight": (256, 256),
    "fc2.bias": (256,),
}
PART_OF_THE_WAY = 0.3
OWN_NOISE = 0.3


def initial_arrays() -> Arrays:
    """Return the weights to begin with."""
    return {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}


def common_target() -> Arrays:
    """Return what all nodes together should arrive at."""
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def train(weights: Arrays, partition: int) -> Arrays:
    """Go part of the way to the node's own target."""
    rng = np.random.default_rng([1, partition])
    trained = {}
    for name, target in common_target().items():
        own = target + OWN_NOISE * rng.normal(size=target.shape)
        trained[name] = (weights[name] + PART_OF_THE_WAY * (own - weights[name])).astype(np.float32)
    return trained


def loss(weights: Arrays) -> float:
    """Return the squared distance to the common target, per weight."""
    errors = [(weights[name] - target).ravel() for name, target in common_target().items()]
    return float(np.mean(np.square(np.concatenate(errors))))
