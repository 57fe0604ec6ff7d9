# SPDX-License-Identifier: Apache-2.0
"""The loggers of a strategy, and what happens when one fails: a warning, once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Protocol, runtime_checkable

from flwr.app import MetricRecord

from fl_deepcabac.flower.ledger import CommunicationLedger, Phase, RoundRecord
from fl_deepcabac.flower.loggers.round_values import round_values

__all__ = ["RoundLog", "RoundLogger"]

logger = logging.getLogger("fl_deepcabac")


@runtime_checkable
class RoundLogger(Protocol):
    """Takes the values of each round."""

    def log_round(self, server_round: int, values: Mapping[str, float]) -> None:
        """Take values of a round: once after training, once after evaluation.

        Parameters
        ----------
        server_round : int
            The step. Goes on after ``strategy.load``; starts again with ``strategy.start``.
        values : mapping of str to float
            From `round_values`; may hold NaN.
        """

    def close(self) -> None:
        """Finish what was begun; nothing is logged after it.

        Never called by a strategy, which may be started again. `contextlib.closing` does.
        """


class RoundLog:
    """Passes the values of rounds on to loggers.

    Parameters
    ----------
    loggers : iterable of RoundLogger

    Attributes
    ----------
    loggers : list of RoundLogger

    Raises
    ------
    TypeError
        If one of them is no such thing.
    """

    def __init__(self, loggers: Iterable[RoundLogger] = ()) -> None:
        self.loggers = list(loggers)
        self._failed: list[RoundLogger] = []
        for entry in self.loggers:
            if isinstance(entry, type) or not isinstance(entry, RoundLogger):
                raise TypeError(
                    f"loggers: expected objects with log_round and close, found {entry!r}"
                )

    def note(
        self,
        server_round: int,
        phase: Phase,
        ledger: CommunicationLedger,
        metrics: MetricRecord | None,
    ) -> None:
        """Log one phase of a round; a logger that raises costs a warning.

        Parameters
        ----------
        server_round : int
        phase : {"train", "evaluate"}
            One without messages and metrics is not logged.
        ledger : CommunicationLedger
        metrics : MetricRecord or None
            What the inner strategy aggregated.
        """
        rounds = (row for row in reversed(ledger.rounds) if row.server_round == server_round)
        record = next(rounds, RoundRecord(server_round))
        if not self.loggers or not (metrics or record.totals(phase).messages):
            return
        values = round_values(record, phase, metrics)
        for entry in self.loggers:
            try:
                entry.log_round(server_round, values)
            except Exception as error:  # a run is worth more than its log
                self._warn(entry, server_round, error)

    def _warn(self, entry: RoundLogger, server_round: int, error: Exception) -> None:
        if any(entry is failed for failed in self._failed):
            return
        self._failed.append(entry)
        logger.warning(
            "DeepCABAC: round %d: %s lost its values; it goes on, further losses are not reported:"
            " %s: %s",
            server_round,
            type(entry).__name__,
            type(error).__name__,
            error,
        )
