# SPDX-License-Identifier: Apache-2.0
"""The server: averages, waits between two rounds if asked to, and writes down what it found."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

from flwr.app import Array, ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from fl_deepcabac import CodecConfig
from fl_deepcabac.flower import DeepCABACStrategy
from twonodes import task

# A forgotten run ends by itself.
MAX_PAUSE_SECONDS = 600.0
# Flower's own log is what `flwr run --stream` and `flwr log` show.
logger = logging.getLogger("flwr")

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the federation."""
    folder = Path(str(context.run_config["folder"]))
    pause_after = context.run_config["pause-after-round"]
    losses: list[float] = []

    def after_round(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        losses.append(task.loss({name: array.numpy() for name, array in arrays.items()}))
        if server_round == pause_after and server_round > 0:
            wait_for_resume(folder)
        return MetricRecord({"loss": losses[-1]})

    strategy = DeepCABACStrategy(
        FedAvg(fraction_evaluate=0.0, min_train_nodes=2, min_available_nodes=2),
        CodecConfig(relative_step=1.0),
    )
    strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord({n: Array(a) for n, a in task.initial_arrays().items()}),
        num_rounds=int(context.run_config["num-server-rounds"]),
        evaluate_fn=after_round,
    )
    strategy.communication.write_jsonl(folder / "ledger.jsonl")
    (folder / "losses.json").write_text(json.dumps(losses), encoding="utf-8")
    logger.info("Communication: %s", strategy.communication)


def wait_for_resume(folder: Path) -> None:
    """Leave the file `paused`, and wait until somebody leaves the file `resume` beside it."""
    (folder / "paused").touch()
    logger.info("Waiting for the file %s", folder / "resume")
    deadline = time.monotonic() + MAX_PAUSE_SECONDS
    while not (folder / "resume").exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"expected the file {folder / 'resume'}, found none in time")
        time.sleep(0.5)
