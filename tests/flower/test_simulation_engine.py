# SPDX-License-Identifier: Apache-2.0
"""The same through Flower's real simulation engine, in a process of its own.

Ray starts workers that outlive a test and warns on its own account; a subprocess keeps both out of
the suite, and can be given a time limit.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray")

SIMULATION = """
import json, sys
import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

from fl_deepcabac import CodecConfig
from fl_deepcabac.flower import DeepCABACStrategy, deepcabac_mod

STEP = 1 / 64
client_app = ClientApp(mods=[deepcabac_mod])
server_app = ServerApp()


@client_app.train()
def train(msg: Message, context: Context) -> Message:
    weights = msg.content["arrays"]["w"].numpy()
    trained = ArrayRecord({"w": Array(weights + np.float32(STEP))})
    metrics = MetricRecord({"num-examples": 1})
    return Message(RecordDict({"arrays": trained, "metrics": metrics}), reply_to=msg)


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    strategy = DeepCABACStrategy(
        FedAvg(fraction_evaluate=0.0, min_available_nodes=2, min_train_nodes=2),
        CodecConfig(step=STEP, quantizer="uniform"),
    )
    arrays = ArrayRecord({"w": Array(np.zeros((64, 32), np.float32))})
    result = strategy.start(grid, arrays, num_rounds=2)
    found = {
        "weights": sorted(set(result.arrays["w"].numpy().ravel().tolist())),
        "codings": [row["coding"] for row in strategy.communication.to_dicts()],
        "ratio": strategy.communication.totals.uplink_ratio,
    }
    with open(sys.argv[1], "w") as file:
        json.dump(found, file)


run_simulation(
    server_app, client_app, num_supernodes=2,
    backend_config={"init_args": {"num_cpus": 2, "include_dashboard": False},
                    "client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
)
"""


@pytest.mark.slow  # `simulate`, in tests/experiments, goes the same way by default
@pytest.mark.timeout(170)
def test_two_rounds_through_the_simulation_engine(tmp_path: Path) -> None:
    script, out = tmp_path / "simulation.py", tmp_path / "found.json"
    script.write_text(SIMULATION, encoding="utf-8")
    environment = {
        **os.environ,
        "FLWR_HOME": str(tmp_path / "flwr"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    finished = subprocess.run(
        [sys.executable, str(script), str(out)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=160,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-4000:]
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["weights"] == [2 / 64]
    assert found["codings"] == ["fresh", "fresh", "warm", "warm"]
    assert found["ratio"] > 10
