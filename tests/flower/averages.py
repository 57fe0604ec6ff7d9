# SPDX-License-Identifier: Apache-2.0
"""The plain strategy of the twins, and how their nodes train."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from flower.toy import Arrays
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg


class Averages(FedAvg):
    """FedAvg that keeps what it sent last, and what it made of the last replies."""

    sent: ArrayRecord
    aggregate: ArrayRecord | None = None

    def __init__(self) -> None:
        super().__init__(min_available_nodes=1, min_train_nodes=1, min_evaluate_nodes=1)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        self.sent = arrays
        return super().configure_train(server_round, arrays, config, grid)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        self.sent = arrays
        return super().configure_evaluate(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        self.aggregate, metrics = super().aggregate_train(server_round, replies)
        return self.aggregate, metrics


def train_freely(weights: Arrays, rng: np.random.Generator) -> Arrays:
    """Move weights by amounts that no step divides."""
    return {
        name: (array + rng.normal(0, 1, array.shape)).astype(array.dtype)
        for name, array in weights.items()
    }
