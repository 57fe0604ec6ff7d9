# SPDX-License-Identifier: Apache-2.0
"""The strategy side: any strategy class, with updates that arrive as packets.

`DeepCABACStrategyMixin` goes in front of a strategy class; in wrapper.py it goes round a strategy
object. Invariant: the inner strategy is called exactly as Flower would call it, with weights it
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

from fl_deepcabac.config import CodecConfig, QuantizerName
from fl_deepcabac.flower.checkpoint import Checkpoint, CheckpointKeeper
from fl_deepcabac.flower.defaults import default_config, objection, weight_key_of
from fl_deepcabac.flower.downlink import DownlinkConfig
from fl_deepcabac.flower.endpoint import ServerEndpoint
from fl_deepcabac.flower.lazy import detach
from fl_deepcabac.flower.ledger import CommunicationLedger
from fl_deepcabac.flower.loggers import RoundLog, RoundLogger
from fl_deepcabac.flower.model_sender import ModelSender
from fl_deepcabac.flower.node_states import NodeStates

__all__ = ["DeepCABACStrategyMixin"]

logger = logging.getLogger("fl_deepcabac")

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
    max_update_norm : float, optional
        The largest Euclidean norm that the floats of one update may have, compressed or not: a
        reply beyond becomes its node's error reply. No limit if not given. With it, and without a
        `codec`, updates are not rounded by chance, which makes them much longer.
    checkpoint_path : str or Path, optional
        A file that `save` writes after rounds of training; none if not given. Where that fails, a
        warning says so, and the run goes on.
    checkpoint_every : int
        After how many rounds.
    loggers : iterable of RoundLogger
        Where the values of each round go (`fl_deepcabac.flower.loggers`).

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
        max_update_norm: float | None = None,
        checkpoint_path: str | Path | None = None,
        checkpoint_every: int = 1,
        loggers: Iterable[RoundLogger] = (),
        **kwargs: Any,
    ) -> None:
        if not isinstance(codec, CodecConfig | None):
            raise TypeError(f"codec: expected a CodecConfig, found {type(codec).__name__}")
        if not isinstance(downlink, DownlinkConfig | None):
            raise TypeError(f"downlink: expected a DownlinkConfig, found {type(downlink).__name__}")
        super().__init__(*args, **kwargs)
        inner = getattr(self, "inner", self)
        is_active = not isinstance(inner, FedXgbBagging | FedXgbCyclic)
        if codec is None:
            # A bound on norms would refuse honest updates that are rounded by chance.
            quantizer: QuantizerName | None = None if max_update_norm is None else "rdoq"
            config = default_config(inner, quantizer=quantizer)
        else:
            config = codec
        if (reason := objection(config, inner, max_update_norm=max_update_norm)) is not None:
            logger.warning("DeepCABAC: %s", reason)
        states = NodeStates(state_budget_bytes, spill_directory)
        models = ModelSender(downlink if is_active else None)
        self._codec_endpoint = ServerEndpoint(
            config,
            is_active=is_active,
            states=states,
            models=models,
            max_update_norm=max_update_norm,
            weight_key=weight_key_of(inner),
        )
        self._codec_trains_broadcast = False
        self._codec_checkpoints = CheckpointKeeper(
            self._codec_endpoint, self, path=checkpoint_path, every=checkpoint_every
        )
        self.loggers = loggers

    @property
    def communication(self) -> CommunicationLedger:
        """What the run has cost so far, per round and node."""
        return self._codec_endpoint.ledger

    @property
    def loggers(self) -> list[RoundLogger]:
        """Where the values of each round go; may be set at any time, and closing is the caller's.

        One that raises costs a warning, once, and never the run.
        """
        return self._codec_round_log.loggers

    @loggers.setter
    def loggers(self, loggers: Iterable[RoundLogger]) -> None:
        self._codec_round_log = RoundLog(loggers)

    def save(self, path: str | Path) -> None:
        """Save everything that training needs to go on in another process.

        Parameters
        ----------
        path : str or Path
            Replaced if it exists, at once: whatever happens, and be it a kill or a power failure,
            it holds the old checkpoint or the new one.

        Raises
        ------
        OSError
            If it cannot be written.
        RuntimeError
            Before the first round: there is no model yet.

        Notes
        -----
        Not saved are settings, of this strategy and of the inner one; what the inner strategy
        remembers in other things than plain values and arrays, which a warning names; and messages
        that await their replies.
        """
        self._codec_checkpoints.save(path)

    def load(self, path: str | Path) -> Checkpoint:
        """Go on from what `save` saved: states of nodes, broadcast model, memory, ledger.

        The strategy has to be built as it was then; settings may differ. To it and to its clients,
        the next round is the one after `Checkpoint.server_round`; in what ``start`` logs and
        returns, and to its ``evaluate_fn``, Flower counts from 1 again.

        Parameters
        ----------
        path : str or Path

        Returns
        -------
        Checkpoint
            With the model to start from.

        Raises
        ------
        OSError
            If the file cannot be read.
        CheckpointError
            If it is damaged, or of another kind of strategy. Nothing has changed then.
        UnsupportedVersionError
            If a newer version has written it.

        Examples
        --------
        >>> checkpoint = strategy.load("run.checkpoint")  # doctest: +SKIP
        >>> strategy.start(
        ...     grid, checkpoint.arrays, num_rounds=15 - checkpoint.server_round
        ... )  # doctest: +SKIP
        """
        return self._codec_checkpoints.load(path)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Configure training, and ask nodes to compress; see `Strategy.configure_train`.

        Raises
        ------
        ConfigError
            If the inner strategy runs SecAgg or SecAgg+.
        """
        checkpoints = self._codec_checkpoints
        server_round += checkpoints.rounds_before
        if self._codec_endpoint.is_active and (server_round == 1 or checkpoints.dtypes.is_empty):
            checkpoints.dtypes.remember(arrays)
        arrays = self._as_nodes_hold_it(arrays)
        self._codec_endpoint.steps.note_sent(arrays)
        messages = super().configure_train(  # type: ignore[safe-super]  # never the last in line
            server_round, arrays, config, grid
        )
        self._codec_trains_broadcast = self._codec_endpoint.models.is_adopted
        return self._codec_endpoint.instruct(server_round, messages, "train")

    def _as_nodes_hold_it(self, arrays: ArrayRecord) -> ArrayRecord:
        """Return the global model in the dtypes of round 1, or the broadcast model instead."""
        arrays = self._codec_checkpoints.dtypes.restore(arrays)
        self._codec_checkpoints.note_model(arrays)
        return self._codec_endpoint.models.adopt(arrays)

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
        server_round += self._codec_checkpoints.rounds_before
        with self._codec_endpoint.receive_train(server_round, replies) as received:
            arrays, metrics = super().aggregate_train(  # type: ignore[safe-super]
                server_round, received
            )
            # Within the context: a strategy may return the arrays of a reply as they are.
            if arrays is not None:
                arrays = self._codec_checkpoints.dtypes.restore(detach(arrays))
                self._codec_endpoint.steps.note_aggregated(arrays)
                if self._codec_trains_broadcast:
                    arrays = self._codec_endpoint.models.with_left_out(arrays)
        if arrays is not None:
            self._codec_checkpoints.note_model(arrays)
        self._codec_checkpoints.note_round(server_round)
        self._codec_round_log.note(server_round, "train", self.communication, metrics)
        return arrays, self._codec_endpoint.with_totals(server_round, metrics)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Configure evaluation and count what it sends; see `Strategy.configure_evaluate`."""
        server_round += self._codec_checkpoints.rounds_before
        messages = super().configure_evaluate(  # type: ignore[safe-super]
            server_round, self._as_nodes_hold_it(arrays), config, grid
        )
        return self._codec_endpoint.instruct(server_round, messages, "evaluate")

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Count and aggregate evaluation replies; see `Strategy.aggregate_evaluate`."""
        server_round += self._codec_checkpoints.rounds_before
        received = self._codec_endpoint.receive_evaluate(replies)
        metrics = super().aggregate_evaluate(  # type: ignore[safe-super]
            server_round, received
        )
        self._codec_round_log.note(server_round, "evaluate", self.communication, metrics)
        return metrics

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
        elif config.relative_step_per_client is not None:
            of_each = f"{config.relative_step_per_client:g} x RMS of each tensor"
            step = f"{of_each}, for each client averaged, {shared_out}"
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
        if (checkpoints := str(self._codec_checkpoints)) != "none":
            info("\t│\t├── Checkpoints: %s", checkpoints)
        if (limit := self._codec_endpoint.acceptance.max_update_norm) is not None:
            info("\t│\t├── Updates: norm of at most %g", limit)
        if self._codec_endpoint.states.budget_bytes is not None:
            info("\t│\t├── States: %s", self._codec_endpoint.states)
        info("\t│\t└── Error feedback: %s", "on" if config.error_feedback else "off")
        super().summary()  # type: ignore[safe-super]
