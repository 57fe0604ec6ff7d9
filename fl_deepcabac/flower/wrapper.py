# SPDX-License-Identifier: Apache-2.0
"""`DeepCABACStrategy`: the mixin over a class that does nothing but delegate."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from fl_deepcabac.config import CodecConfig
from fl_deepcabac.flower.downlink import DownlinkConfig
from fl_deepcabac.flower.loggers import RoundLogger
from fl_deepcabac.flower.server import DeepCABACStrategyMixin

__all__ = ["DeepCABACStrategy"]


class _Delegating(Strategy):
    """A strategy that does what another one does."""

    def __init__(self, inner: Strategy) -> None:
        self.inner = inner

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        return self.inner.configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        return self.inner.aggregate_train(server_round, replies)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        return self.inner.configure_evaluate(server_round, arrays, config, grid)

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        return self.inner.aggregate_evaluate(server_round, replies)

    def summary(self) -> None:
        self.inner.summary()

    def __getattr__(self, name: str) -> Any:
        # Called for what is not found here. `inner` itself is missing only in a copy in the making.
        if name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)


class DeepCABACStrategy(DeepCABACStrategyMixin, _Delegating):
    """Compressed updates for any strategy object: ``DeepCABACStrategy(FedAvg(...))``.

    Parameters
    ----------
    inner : Strategy
        Of ``flwr.serverapp.strategy`` or derived from it. Attributes not found on the wrapper are
        looked up on it; to set one, use ``strategy.inner``. A class with a `start` of its own takes
        the mixin, because the wrapper runs Flower's.
    config : CodecConfig, optional
        As for `DeepCABACStrategyMixin`.
    downlink, state_budget_bytes, spill_directory, max_update_norm
        As for `DeepCABACStrategyMixin`.
    checkpoint_path, checkpoint_every, loggers
        As for `DeepCABACStrategyMixin`.

    Raises
    ------
    TypeError
        If `inner` is no such strategy, or compresses already; or another argument has a wrong type.
    ConfigError
        If a setting is out of range.

    Examples
    --------
    >>> from flwr.serverapp.strategy import FedAvg
    >>> strategy = DeepCABACStrategy(FedAvg(min_available_nodes=10), CodecConfig(step=0.004))
    >>> strategy.min_available_nodes
    10
    """

    def __init__(
        self,
        inner: Strategy,
        config: CodecConfig | None = None,
        *,
        downlink: DownlinkConfig | None = None,
        state_budget_bytes: int | None = None,
        spill_directory: str | Path | None = None,
        max_update_norm: float | None = None,
        checkpoint_path: str | Path | None = None,
        checkpoint_every: int = 1,
        loggers: Iterable[RoundLogger] = (),
    ) -> None:
        if not isinstance(inner, Strategy):
            raise TypeError(
                "inner: expected a strategy of flwr.serverapp.strategy, found "
                f"{type(inner).__module__}.{type(inner).__name__}; the legacy strategies of "
                "flwr.server, and the SecAgg workflows that need them, cannot be wrapped"
            )
        if isinstance(inner, DeepCABACStrategyMixin):
            raise TypeError(
                f"inner: expected a strategy that does not compress, found {type(inner).__name__}, "
                "which does"
            )
        super().__init__(
            inner,
            codec=config,
            downlink=downlink,
            state_budget_bytes=state_budget_bytes,
            spill_directory=spill_directory,
            max_update_norm=max_update_norm,
            checkpoint_path=checkpoint_path,
            checkpoint_every=checkpoint_every,
            loggers=loggers,
        )
