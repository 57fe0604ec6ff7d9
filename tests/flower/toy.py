# SPDX-License-Identifier: Apache-2.0
"""A small model, and ClientApps that train it without a framework.

Training moves each weight by a whole number of steps of 1/64, so that with `EXACT` settings a
decoded update equals the update itself, bit for bit, and a compressed run must equal the plain one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from fl_deepcabac import CodecConfig
from fl_deepcabac.flower import deepcabac_mod

Arrays = dict[str, NDArray[Any]]

STEP = 1 / 64
# Lossless for updates that are multiples of the step.
EXACT = CodecConfig(step=STEP, quantizer="uniform")
MODS = (deepcabac_mod,)


def initial_arrays(n_hidden: int = 24) -> ArrayRecord:
    """Return a model of one layer of each common kind, float32."""
    rng = np.random.default_rng(0)
    shapes = {
        "conv.weight": (4, 3, 3, 3),
        "conv.bias": (4,),
        "fc.weight": (n_hidden, 16),
        "fc.bias": (n_hidden,),
    }
    return record_of(
        {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    )


def record_of(arrays: Arrays) -> ArrayRecord:
    return ArrayRecord({name: Array(array) for name, array in arrays.items()})


def arrays_of(record: ArrayRecord) -> Arrays:
    return {name: array.numpy() for name, array in record.items()}


def train_in_steps(weights: Arrays, rng: np.random.Generator) -> Arrays:
    """Move float weights by -2..2 steps, and count integers up by one."""
    trained = {}
    for name, tensor in weights.items():
        if tensor.dtype.kind == "f":
            steps = rng.integers(-2, 3, tensor.shape) * rng.integers(0, 2, tensor.shape)
            moved = np.asarray(tensor + (steps * STEP).astype(tensor.dtype))
        else:
            moved = np.asarray(tensor + np.ones((), tensor.dtype))
        trained[name] = moved.astype(tensor.dtype)
    return trained


def make_app(
    *,
    mods: Sequence[Any] = MODS,
    train: Callable[[Arrays, np.random.Generator], Arrays] = train_in_steps,
) -> ClientApp:
    """Return an app whose training depends on the node and the round only."""
    app = ClientApp(mods=list(mods))

    @app.train()
    def _train(msg: Message, context: Context) -> Message:
        [record] = msg.content.array_records.values()
        partition = int(context.node_config["partition-id"])
        rng = np.random.default_rng([partition, _round(msg)])
        arrays = record_of(train(arrays_of(record), rng))
        metrics = MetricRecord({"num-examples": 10 + partition, "train_loss": 1.0 + partition})
        return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=msg)

    @app.evaluate()
    def _evaluate(msg: Message, _: Context) -> Message:
        [record] = msg.content.array_records.values()
        loss = float(sum(np.square(array).sum() for array in arrays_of(record).values()))
        metrics = MetricRecord({"num-examples": 10, "loss": loss})
        return Message(RecordDict({"metrics": metrics}), reply_to=msg)

    return app


def _round(msg: Message) -> int:
    [config] = msg.content.config_records.values()
    return int(config["server-round"])


def train_message(
    arrays: ArrayRecord, config: ConfigRecord | None = None, message_type: str = "train"
) -> Message:
    """Return a train message to node 1000 as a strategy makes it."""
    content = RecordDict({"arrays": arrays, "config": config or ConfigRecord({"server-round": 1})})
    message = Message(content, dst_node_id=1000, message_type=message_type)
    message.metadata.__dict__["_message_id"] = "message-1"
    return message


def new_context(run_id: int = 1, state: RecordDict | None = None) -> Context:
    return Context(run_id, 1000, {"partition-id": 0}, state or RecordDict(), {})
