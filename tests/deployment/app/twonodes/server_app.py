# SPDX-License-Identifier: Apache-2.0
"""The server: averages, goes on from a checkpoint if there is one, and writes down what it found.

If asked to, it waits after a round, or dies.
"""

from __future__ import annotations

import json
import logging
import os
import signal
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
    pause_after = int(context.run_config["pause-after-round"])
    die_after = int(context.run_config["die-after-round"])
    losses: list[float] = []

    def after_round(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        losses.append(task.loss({name: array.numpy() for name, array in arrays.items()}))
        # Flower counts from 1 in each run.
        if server_round and done + server_round == pause_after:
            wait_for_resume(folder)
        if server_round and done + server_round == die_after:
            os.kill(os.getpid(), signal.SIGKILL)
        return MetricRecord({"loss": losses[-1]})

    checkpoint_path = folder / "run.checkpoint"
    strategy = DeepCABACStrategy(
        FedAvg(fraction_evaluate=0.0, min_train_nodes=2, min_available_nodes=2),
        CodecConfig(relative_step=1.0),
        checkpoint_path=checkpoint_path,
    )
    arrays, done = ArrayRecord({n: Array(a) for n, a in task.initial_arrays().items()}), 0
    if checkpoint_path.exists():
        checkpoint = strategy.load(checkpoint_path)
        arrays, done = checkpoint.arrays, checkpoint.server_round
    strategy.start(
        grid=grid,
        initial_arrays=arrays,
        num_rounds=int(context.run_config["num-server-rounds"]) - done,
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
