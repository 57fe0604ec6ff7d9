# SPDX-License-Identifier: Apache-2.0
"""The server: averages what the clients have trained, and evaluates centrally."""

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from fl_deepcabac.flower import DeepCABACStrategy  # <<< DeepCABAC
from pytorchexample.task import Net, load_test_data, test

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the federation."""
    min_nodes = context.run_config["min-nodes"]
    strategy = FedAvg(
        fraction_evaluate=context.run_config["fraction-evaluate"],
        min_train_nodes=min_nodes,
        min_available_nodes=min_nodes,
    )
    strategy = DeepCABACStrategy(strategy)  # <<< DeepCABAC

    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(Net().state_dict()),
        train_config=ConfigRecord({"lr": context.run_config["learning-rate"]}),
        num_rounds=context.run_config["num-server-rounds"],
        evaluate_fn=global_evaluate,
    )

    accuracy = result.evaluate_metrics_serverapp[context.run_config["num-server-rounds"]][
        "accuracy"
    ]
    print(f"Accuracy on the server's images: {accuracy:.3f}")
    print(f"Communication: {strategy.communication}")  # <<< DeepCABAC


def global_evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
    """Evaluate the global model on the server's images."""
    del server_round
    model = Net()
    model.load_state_dict(arrays.to_torch_state_dict())
    loss, accuracy = test(model, load_test_data(), torch.device("cpu"))
    return MetricRecord({"loss": loss, "accuracy": accuracy})
