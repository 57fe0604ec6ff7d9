# SPDX-License-Identifier: Apache-2.0
"""The ClientApp of every task: train, evaluate, and say which part of the data is held.

A client has no settings of its own: the settings of the run come as JSON in the config of each
message, the part of the data from the node's ``partition-id``. Invariant: what a client returns
depends on the message and its part alone, and on nothing that happened in its process before.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import Mod
from torch import nn

from fl_deepcabac.experiments.base_weights import starting_model, with_base
from fl_deepcabac.experiments.gradient_squares import leave_importance, squares_wanted
from fl_deepcabac.experiments.partition import Parts, share_out
from fl_deepcabac.experiments.settings import RunSettings
from fl_deepcabac.experiments.tasks import Samples, Task, TaskData, get_task
from fl_deepcabac.experiments.training import judge_model, train_model
from fl_deepcabac.experiments.travelling import load_travelling, travelling_weights

__all__ = ["SETTINGS_KEY", "build_client_app", "load_partitioned", "task_of"]

# Key of the run's settings in the config of train and evaluate messages.
SETTINGS_KEY = "experiment"


def build_client_app(mods: list[Mod]) -> ClientApp:
    """Return the ClientApp with the mods of a codec.

    Parameters
    ----------
    mods : list of callable
        Client mods, outermost first.

    Returns
    -------
    ClientApp
    """
    app = ClientApp(mods=mods)
    app.train()(_train)
    app.evaluate()(_evaluate)
    app.query()(_tell_partition)
    return app


@lru_cache(maxsize=1)
def load_partitioned(settings: RunSettings) -> tuple[TaskData, Parts]:
    """Load the data of a task and share it out; a process that asks again gets the same objects.

    Parameters
    ----------
    settings : RunSettings

    Returns
    -------
    tuple of (TaskData, list of ndarray)
        The samples, with the base of the model if it needs one, and the indices of the training
        samples of each client.

    Raises
    ------
    DataFileError
        If a file is missing or broken.
    SettingsError
        If the task has no such model, or cannot be shared out in that way between so many clients.
    """
    task = task_of(settings)
    data = task.load_data(_data_dir(settings))
    parts = share_out(data, settings)
    return with_base(task, data, settings.model), parts


def task_of(settings: RunSettings) -> Task:
    """Return the task of a run; raises as `get_task` does.

    Parameters
    ----------
    settings : RunSettings

    Returns
    -------
    Task
    """
    return get_task(settings.task, _data_dir(settings))


def _train(message: Message, context: Context) -> Message:
    """Train the model of the message on this client's samples and return it."""
    settings, model, samples = _prepare(message, context)
    config = message.content.config_records["config"]
    server_round = int(str(config["server-round"]))
    squares = squares_wanted(context, model)
    loss = train_model(
        model,
        samples,
        plan=task_of(settings).plan_for(settings),
        seed=_training_seed(settings, server_round, _partition_id(context)),
        proximal_mu=float(str(config.get("proximal-mu", 0.0))),
        on_gradients=None if squares is None else squares.add,
    )
    if squares is not None:
        leave_importance(context, squares)
    metrics = MetricRecord({"train-loss": loss, "num-examples": len(samples)})
    content = RecordDict({"arrays": ArrayRecord(travelling_weights(model)), "metrics": metrics})
    return Message(content, reply_to=message)


def _evaluate(message: Message, context: Context) -> Message:
    """Judge the model of the message on this client's samples."""
    _, model, samples = _prepare(message, context)
    verdict = judge_model(model, samples)
    metrics = MetricRecord(
        {"loss": verdict.loss, "accuracy": verdict.accuracy, "num-examples": len(samples)}
    )
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


def _tell_partition(message: Message, context: Context) -> Message:
    """Load the data, and answer which part of it this node holds: ids of nodes are random."""
    load_partitioned(_settings(message))
    record = ConfigRecord({"partition-id": _partition_id(context)})
    return Message(RecordDict({"node": record}), reply_to=message)


def _prepare(message: Message, context: Context) -> tuple[RunSettings, nn.Module, Samples]:
    """Return the settings, the model with the weights received, and the samples of this client."""
    torch.set_num_threads(1)  # as many clients run side by side as there are cores
    settings = _settings(message)
    data, parts = load_partitioned(settings)
    model = starting_model(task_of(settings), data, settings)
    [arrays] = message.content.array_records.values()
    load_travelling(model, arrays.to_torch_state_dict())
    return settings, model, data.train.take(parts[_partition_id(context)])


def _data_dir(settings: RunSettings) -> Path | None:
    """Return the folder of the data as a path."""
    return None if settings.data_dir is None else Path(settings.data_dir)


def _settings(message: Message) -> RunSettings:
    """Return the settings of the run from the config of a message."""
    return RunSettings.from_json(str(message.content.config_records["config"][SETTINGS_KEY]))


def _partition_id(context: Context) -> int:
    """Return the part of the data that this node holds."""
    return int(str(context.node_config["partition-id"]))


def _training_seed(settings: RunSettings, server_round: int, client: int) -> int:
    """Return a seed that is this client's in this round, and no other's."""
    return (settings.seed * 1_000_003 + server_round) * 1_000_003 + client
