# SPDX-License-Identifier: Apache-2.0
"""MLflow, through its client: the run that a program may have active is left alone."""

from __future__ import annotations

import re
import time
import weakref
from collections.abc import Mapping

from fl_deepcabac.flower.extras import needs_extra

__all__ = ["MLflowLogger"]

# MLflow refuses other names of metrics.
_NOT_IN_NAMES = re.compile(r"[^\w\-. /:]", flags=re.ASCII)


class MLflowLogger:
    """Writes metrics into a run of its own.

    Parameters
    ----------
    tracking_uri : str, optional
        Of the server or file, such as ``"sqlite:///mlflow.db"``; MLflow's own choice if not given.
    experiment : str, optional
        By name, made if missing; MLflow's default experiment if not given.
    run_name : str, optional

    Attributes
    ----------
    run_id : str

    Raises
    ------
    ModuleNotFoundError
        Without the extra ``mlflow``.
    mlflow.exceptions.MlflowException
        If there is no such server, or it refuses.

    Notes
    -----
    Metrics are sent before the next round begins. A server that does not answer holds each round up
    for as long as MLflow tries (its variable ``MLFLOW_HTTP_REQUEST_MAX_RETRIES``).
    """

    def __init__(
        self,
        tracking_uri: str | None = None,
        experiment: str | None = None,
        run_name: str | None = None,
    ) -> None:
        with needs_extra("mlflow"):
            from mlflow import MlflowClient  # noqa: PLC0415 (an extra)
        self._client = MlflowClient(tracking_uri=tracking_uri)
        experiment_id = "0"
        if experiment is not None:
            known = self._client.get_experiment_by_name(experiment)
            experiment_id = (
                self._client.create_experiment(experiment) if known is None else known.experiment_id
            )
        self.run_id: str = self._client.create_run(experiment_id, run_name=run_name).info.run_id
        # Without it, a run whose program has ended would stay a running one.
        self._finish = weakref.finalize(self, self._client.set_terminated, self.run_id)

    def log_round(self, server_round: int, values: Mapping[str, float]) -> None:
        """Write all values in one request; characters that MLflow refuses in names become ``_``."""
        from mlflow.entities import Metric  # noqa: PLC0415 (an extra)

        milliseconds = int(1000 * time.time())
        metrics = [
            Metric(_NOT_IN_NAMES.sub("_", name), value, milliseconds, server_round)
            for name, value in values.items()
        ]
        self._client.log_batch(self.run_id, metrics=metrics)

    def close(self) -> None:
        """Mark the run as finished; the end of the process does it too."""
        self._finish()
