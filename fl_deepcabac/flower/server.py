# SPDX-License-Identifier: Apache-2.0
"""The strategy side: any strategy, with updates that arrive as packets.

`DeepCABACStrategyMixin` goes in front of a strategy class, `DeepCABACStrategy` round a strategy
object; both are the same code, because the wrapper is the mixin over a class that does nothing but
delegate. Invariant: the inner strategy is called exactly as Flower would call it, with weights it
could have got from uncompressed nodes; it never sees a packet.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedXgbBagging, FedXgbCyclic, Strategy

from fl_deepcabac.config import CodecConfig
from fl_deepcabac.flower.defaults import default_config
from fl_deepcabac.flower.downlink import DownlinkConfig
from fl_deepcabac.flower.endpoint import ServerEndpoint
from fl_deepcabac.flower.lazy import detach
from fl_deepcabac.flower.ledger import CommunicationLedger
from fl_deepcabac.flower.model_sender import ModelSender
from fl_deepcabac.flower.node_states import NodeStates
from fl_deepcabac.flower.weights import DtypeMemory

__all__ = ["DeepCABACStrategy", "DeepCABACStrategyMixin"]

# The summary of a strategy is one block in Flower's own log, where its reader looks for it.
summary_logger = logging.getLogger("flwr")


class DeepCABACStrategyMixin(Strategy):
    """Compressed updates for a strategy class: ``class Mine(DeepCABACStrategyMixin, FedProx)``.

    Parameters
    ----------
    *args, **kwargs
        For the strategy class that follows.
    codec : CodecConfig, optional
        Settings for all nodes; they travel with each train message. If not given, those that
        `default_config` finds right for the strategy.
    downlink : DownlinkConfig, optional
        How the global model travels to the nodes; as it is if not given. With it, every client
        needs the mod.
    state_budget_bytes : int, optional
        The most that the states of all nodes may take in memory, in bytes; no limit if not given.
        The states that a round's replies are decoded against count beside those that come after
        them: to keep N nodes warm that take part in one round takes room for 2 N states. Beyond the
        budget, those used longest ago are dropped: their nodes start afresh, without what error
        feedback had left over.
    spill_directory : str or Path, optional
        Where such states are written instead, one file each in a new subdirectory, which is removed
        at the end of the process. Made if missing; needs `state_budget_bytes`.

    Notes
    -----
    Before training, the mixin calls the inner ``configure_train`` and adds settings and the node's
    token to each message it returns. After training, it turns packets into weights and calls the
    inner ``aggregate_train``. A reply that cannot be decoded becomes that node's error reply, so
    the inner strategy's own policy for failures applies, and the round goes on.

    Global weights keep the dtypes they have in round 1: what the inner strategy returns in other
    dtypes is cast before it is sent, evaluated or returned. FedXgbBagging and FedXgbCyclic, whose
    arrays are bytes of trees, pass through.

    Wrappers for differential privacy go inside:
    ``DeepCABACStrategy(DifferentialPrivacy...(FedAvg()))``. The other way round, the wrapper would
    read the packets before they are decoded, which fails with "Unsupported serialization type".
    Secure aggregation cannot be combined with compression, and is refused.
    """

    def __init__(
        self,
        *args: Any,
        codec: CodecConfig | None = None,
        downlink: DownlinkConfig | None = None,
        state_budget_bytes: int | None = None,
        spill_directory: str | Path | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(codec, CodecConfig | None):
            raise TypeError(f"codec: expected a CodecConfig, found {type(codec).__name__}")
        if not isinstance(downlink, DownlinkConfig | None):
            raise TypeError(f"downlink: expected a DownlinkConfig, found {type(downlink).__name__}")
        super().__init__(*args, **kwargs)
        inner = getattr(self, "inner", self)
        is_active = not isinstance(inner, FedXgbBagging | FedXgbCyclic)
        config = default_config(inner) if codec is None else codec
        states = NodeStates(state_budget_bytes, spill_directory)
        models = ModelSender(downlink if is_active else None)
        self._codec_endpoint = ServerEndpoint(
            config, is_active=is_active, states=states, models=models
        )
        self._codec_dtypes = DtypeMemory()
        self._codec_trains_broadcast = False

    @property
    def communication(self) -> CommunicationLedger:
        """What the run has cost so far, per round and node."""
        return self._codec_endpoint.ledger

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Configure training, and ask nodes to compress; see `Strategy.configure_train`.

        Raises
        ------
        ConfigError
            If the inner strategy runs SecAgg or SecAgg+.
        """
        if self._codec_endpoint.is_active and (server_round == 1 or self._codec_dtypes.is_empty):
            self._codec_dtypes.remember(arrays)
        messages = super().configure_train(  # type: ignore[safe-super]  # never the last in line
            server_round, self._as_nodes_hold_it(arrays), config, grid
        )
        self._codec_trains_broadcast = self._codec_endpoint.models.is_adopted
        return self._codec_endpoint.instruct(server_round, messages, "train")

    def _as_nodes_hold_it(self, arrays: ArrayRecord) -> ArrayRecord:
        """Return the global model in the dtypes of round 1, or the broadcast model instead."""
        return self._codec_endpoint.models.adopt(self._codec_dtypes.restore(arrays))

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Decode replies and aggregate them; see `Strategy.aggregate_train`.

        Returns
        -------
        tuple of (ArrayRecord or None, MetricRecord or None)
            What the inner strategy returns, in the dtypes of round 1, and with the cost of the
            round appended to the metrics under keys that start with ``deepcabac-``.
        """
        with self._codec_endpoint.receive_train(server_round, replies) as received:
            arrays, metrics = super().aggregate_train(  # type: ignore[safe-super]
                server_round, received
            )
            # Within the context: a strategy may return the arrays of a reply as they are.
            if arrays is not None:
                arrays = self._codec_dtypes.restore(detach(arrays))
                if self._codec_trains_broadcast:
                    arrays = self._codec_endpoint.models.with_left_out(arrays)
        return arrays, self._codec_endpoint.with_totals(server_round, metrics)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Configure evaluation and count what it sends; see `Strategy.configure_evaluate`."""
        messages = super().configure_evaluate(  # type: ignore[safe-super]
            server_round, self._as_nodes_hold_it(arrays), config, grid
        )
        return self._codec_endpoint.instruct(server_round, messages, "evaluate")

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Count and aggregate evaluation replies; see `Strategy.aggregate_evaluate`."""
        received = self._codec_endpoint.receive_evaluate(replies)
        return super().aggregate_evaluate(  # type: ignore[safe-super]
            server_round, received
        )

    def summary(self) -> None:
        """Log the codec's settings, then the inner strategy's own summary."""
        config = self._codec_endpoint.config
        shared_out = f"shared out by {config.allocation}"
        if config.step is not None:
            step = f"{config.step:g}"
        elif config.target_bytes is not None:
            step = f"for at most {config.target_bytes:,} bytes, {shared_out}"
        elif config.target_bits_per_weight is not None:
            step = f"for at most {config.target_bits_per_weight:g} bits per weight, {shared_out}"
        else:
            step = f"{config.relative_step:g} x RMS of each tensor, {shared_out}"
        info = summary_logger.info
        info("\t├──> DeepCABAC settings:")
        if not self._codec_endpoint.is_active:
            info("\t│\t├── Passing through: trees are not compressed")
        info("\t│\t├── Step: %s", step)
        info("\t│\t├── Quantizer: %s | Profile: %s", config.quantizer, config.profile)
        if (downlink := self._codec_endpoint.models.config) is not None:
            info(
                "\t│\t├── Downlink: differences at %g x RMS, profile %s",
                downlink.relative_step,
                downlink.profile,
            )
        if self._codec_endpoint.states.budget_bytes is not None:
            info("\t│\t├── States: %s", self._codec_endpoint.states)
        info("\t│\t└── Error feedback: %s", "on" if config.error_feedback else "off")
        super().summary()  # type: ignore[safe-super]


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
    downlink, state_budget_bytes, spill_directory
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
        )
