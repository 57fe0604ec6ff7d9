# SPDX-License-Identifier: Apache-2.0
"""The client: trains what it is sent."""

from __future__ import annotations

from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fl_deepcabac.flower import deepcabac_mod
from twonodes import task

app = ClientApp(mods=[deepcabac_mod])


@app.train()
def train(msg: Message, context: Context) -> Message:
    """Train on the node's own target."""
    partition = int(context.node_config["partition-id"])
    record = msg.content.array_records["arrays"]
    received = {name: array.numpy() for name, array in record.items()}
    trained = task.train(received, partition)
    arrays = ArrayRecord({name: Array(array) for name, array in trained.items()})
    metrics = MetricRecord({"num-examples": 1})
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=msg)
