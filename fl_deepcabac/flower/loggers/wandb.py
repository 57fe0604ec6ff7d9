# SPDX-License-Identifier: Apache-2.0
"""Weights & Biases, in a run of its own beside any that the program has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fl_deepcabac.flower.extras import needs_extra

__all__ = ["WandbLogger"]


class WandbLogger:
    """Logs to a run that it starts.

    Parameters
    ----------
    project : str
    **init
        More for ``wandb.init``: ``name``, ``config``, ``mode="offline"``, ...

    Attributes
    ----------
    run : wandb.Run

    Raises
    ------
    ModuleNotFoundError
        Without the extra ``wandb``.
    wandb.errors.Error
        If the run cannot be started: no key, no network.
    """

    def __init__(self, project: str, **init: Any) -> None:
        with needs_extra("wandb"):
            import wandb  # noqa: PLC0415 (an extra)
        # By default wandb returns a run that is active already, and `close` would end it.
        self.run = wandb.init(project=project, **{"reinit": "create_new", **init})

    def log_round(self, server_round: int, values: Mapping[str, float]) -> None:
        """Log as step `server_round`: training and evaluation share a row.

        wandb drops rounds that it has gone past, as when one strategy is started twice.
        """
        self.run.log(dict(values), step=server_round)

    def close(self) -> None:
        """Finish the run; the end of the process does it too."""
        self.run.finish()
