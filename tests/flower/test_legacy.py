# SPDX-License-Identifier: Apache-2.0
"""A NumPyClient app of Flower's legacy interface, through the same mod."""

from __future__ import annotations

from typing import Any

import numpy as np
from flower.inprocess_grid import InProcessGrid
from flower.toy import EXACT, STEP, arrays_of, initial_arrays
from flwr.app import ArrayRecord, Context
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg

from fl_deepcabac.flower import DeepCABACStrategy, deepcabac_mod

N_NODES = 3


class LegacyClient(NumPyClient):
    def fit(self, parameters: Any, config: Any) -> Any:
        assert config["server-round"] > 0
        return [tensor + np.float32(STEP) for tensor in parameters], 10, {}

    def evaluate(self, parameters: Any, config: Any) -> Any:
        del config
        return float(np.square(parameters[0]).sum()), 10, {}


def client_fn(context: Context) -> Any:
    del context
    return LegacyClient().to_client()


def test_numpy_client_is_compressed_under_its_legacy_record_names() -> None:
    arrays = ArrayRecord(list(arrays_of(initial_arrays()).values()))
    strategy = DeepCABACStrategy(
        FedAvg(
            min_available_nodes=N_NODES,
            min_train_nodes=N_NODES,
            fraction_evaluate=0.0,
            arrayrecord_key="fitins.parameters",
            configrecord_key="fitins.config",
            weighted_by_key="num_examples",
        ),
        EXACT,
    )
    apps = [ClientApp(client_fn=client_fn, mods=[deepcabac_mod]) for _ in range(N_NODES)]
    result = strategy.start(InProcessGrid(apps), arrays, num_rounds=3)
    totals = strategy.communication.totals
    assert (totals.fresh, totals.warm, totals.failures) == (N_NODES, 2 * N_NODES, 0)
    assert totals.uplink_ratio > 4
    for name, tensor in arrays_of(result.arrays).items():
        np.testing.assert_allclose(tensor, arrays[name].numpy() + np.float32(3 * STEP), atol=1e-6)
