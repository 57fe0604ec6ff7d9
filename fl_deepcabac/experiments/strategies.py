# SPDX-License-Identifier: Apache-2.0
"""Flower's strategies by name, and the layer that makes a simulated run repeatable.

Flower draws nodes with an unseeded generator, gives them random ids, and hands replies over in any
order, so that even sums differ from run to run. `RepeatableStrategy` knows which node holds which
part of the data and fixes all three. Invariant: equal settings give equal cohorts and equal sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAdam, FedAvg, FedMedian, FedProx, Krum, Strategy

from fl_deepcabac.experiments.settings import RunSettings
from fl_deepcabac.experiments.traffic import GridView

__all__ = ["RepeatableStrategy", "build_strategy"]

# The server's step and damping of FedAdam suit clients that train with SGD at some hundredths.
_BUILDERS: Mapping[str, Callable[..., Strategy]] = {
    "fedavg": FedAvg,
    "fedadam": partial(FedAdam, eta=0.01, tau=1e-3),
    "fedprox": partial(FedProx, proximal_mu=0.01),
    "fedmedian": FedMedian,
    "krum": Krum,
}


def build_strategy(settings: RunSettings) -> Strategy:
    """Return a fresh strategy of Flower that takes every node the grid shows it.

    Parameters
    ----------
    settings : RunSettings
        Names the strategy, and says how many clients train and evaluate.

    Returns
    -------
    Strategy
    """
    # Without these minima Flower's first round may take the few nodes that happen to be up.
    return _BUILDERS[settings.strategy](
        min_train_nodes=settings.cohort_size,
        fraction_evaluate=1.0 if settings.jury_size else 0.0,
        min_evaluate_nodes=settings.jury_size,
        min_available_nodes=1,
    )


class _CohortGrid(GridView):
    """A grid that shows only the nodes of one round."""

    def __init__(self, grid: Grid, node_ids: list[int]) -> None:
        super().__init__(grid)
        self._node_ids = node_ids

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of the cohort."""
        return list(self._node_ids)


class RepeatableStrategy(Strategy):
    """A strategy around another that fixes who takes part and in which order replies are summed.

    Parameters
    ----------
    inner : Strategy
        Does the work. Takes all nodes it is shown.
    settings : RunSettings
        Seed and size of the cohort.
    client_of_node : mapping of int to int
        Which client, that is which part of the data, each node is.

    Attributes
    ----------
    train_metrics, client_metrics : MetricRecord
        What the clients reported in the latest round while training, and on evaluation; empty when
        none did.

    Notes
    -----
    Those who evaluate the result of a round are drawn apart from those who trained, as Flower does.
    """

    def __init__(
        self, inner: Strategy, *, settings: RunSettings, client_of_node: Mapping[int, int]
    ) -> None:
        self.inner = inner
        self.train_metrics = MetricRecord()
        self.client_metrics = MetricRecord()
        self._settings = settings
        self._client_of_node = client_of_node
        self._node_of_client = {client: node for node, client in client_of_node.items()}

    def cohort(self, server_round: int) -> list[int]:
        """Return the node ids that train in the round, by ascending client."""
        return self._draw(self._settings.cohort_size, [self._settings.seed, server_round])

    def jury(self, server_round: int) -> list[int]:
        """Return the node ids that evaluate the result of the round, by ascending client."""
        # A longer seed is another generator.
        return self._draw(self._settings.jury_size, [self._settings.seed, server_round, 1])

    def _draw(self, n_clients: int, seed: list[int]) -> list[int]:
        rng = np.random.default_rng(seed)
        clients = rng.choice(self._settings.clients, n_clients, replace=False)
        return [self._node_of_client[int(client)] for client in np.sort(clients)]

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask the cohort to train."""
        view = _CohortGrid(grid, self.cohort(server_round))
        return self.inner.configure_train(server_round, arrays, config, view)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Combine the updates, in the order of clients."""
        arrays, metrics = self.inner.aggregate_train(server_round, self._in_order(replies))
        self.train_metrics = metrics if metrics is not None else MetricRecord()
        return arrays, metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask the jury to judge the result."""
        view = _CohortGrid(grid, self.jury(server_round))
        return self.inner.configure_evaluate(server_round, arrays, config, view)

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Combine the judgements."""
        metrics = self.inner.aggregate_evaluate(server_round, self._in_order(replies))
        self.client_metrics = metrics if metrics is not None else MetricRecord()
        return metrics

    def summary(self) -> None:
        """Log what the inner strategy has to say."""
        self.inner.summary()

    def _in_order(self, replies: Iterable[Message]) -> list[Message]:
        """Sort replies by client; those of no known node come last."""
        n_clients = len(self._client_of_node)
        return sorted(
            replies,
            key=lambda reply: self._client_of_node.get(reply.metadata.src_node_id, n_clients),
        )
