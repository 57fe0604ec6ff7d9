# SPDX-License-Identifier: Apache-2.0
"""The frozen base under adapters: trained once on public samples, kept for all runs to come.

In practice a base is downloaded; this one is made where it is first needed, by the recipe below,
and kept in the user's cache folder, where every later process finds it. Invariant: the base depends
on task, model and public samples alone, whatever the settings of a run, and no client's samples are
in it. A file that is lost or damaged is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from fl_deepcabac.atomic_file import write_atomically
from fl_deepcabac.experiments.settings import RunSettings
from fl_deepcabac.experiments.tasks import Samples, Task, TaskData, TrainingPlan
from fl_deepcabac.experiments.training import initial_model, train_model
from fl_deepcabac.experiments.travelling import frozen_weights

__all__ = ["starting_model", "with_base"]

# The recipe: so many steps, each of so many samples, from these initial weights in this order.
N_STEPS, BATCH_SIZE, SEED = 300, 32, 0


def starting_model(task: Task, data: TaskData, settings: RunSettings) -> nn.Module:
    """Return the model that a run starts from, on the server and on every client.

    Parameters
    ----------
    task : Task
    data : TaskData
        As `with_base` returned it.
    settings : RunSettings
        Names the model, and seeds all weights that are not in the base.

    Returns
    -------
    Module
    """
    model = initial_model(partial(task.build_model, settings.model), seed=settings.seed)
    if data.base is not None:
        model.load_state_dict(dict(data.base), strict=False)
    return model


def with_base(task: Task, data: TaskData, model_name: str | None) -> TaskData:
    """Add the weights of the base to the data, if the model has frozen weights to fill.

    Parameters
    ----------
    task : Task
    data : TaskData
        Without public samples, frozen weights stay as the seed of the run makes them.
    model_name : str, optional
        As in `RunSettings.model`.

    Returns
    -------
    TaskData

    Raises
    ------
    SettingsError
        If the task has no such model.
    """
    model = initial_model(partial(task.build_model, model_name), seed=SEED)
    if data.public is None or not frozen_weights(model):
        return data
    plan = replace(task.plan, local_epochs=N_STEPS, max_steps=N_STEPS, batch_size=BATCH_SIZE)
    path = _cache_folder() / f"{_digest(model, data.public, plan)}.safetensors"
    try:
        base = load(path.read_bytes())
    except (OSError, SafetensorError):
        base = _train_base(model, data.public, plan)
        # Where nothing can be kept, every process makes the base for itself.
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, save(base))
    return replace(data, base=base)


def _train_base(model: nn.Module, samples: Samples, plan: TrainingPlan) -> dict[str, torch.Tensor]:
    """Train what will be frozen, and nothing else; fresh adapters have no say in the outputs."""
    names = frozen_weights(model).keys()
    for name, weights in model.named_parameters():
        weights.requires_grad_(name in names)
    with _one_thread():
        train_model(model, samples, plan=plan, seed=SEED)
    return {name: model.get_parameter(name).detach() for name in names}


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let sums come out the same in all processes, however many cores each of them may use."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def _digest(model: nn.Module, samples: Samples, plan: TrainingPlan) -> str:
    """Name a base by everything that it depends on."""
    digest = hashlib.blake2b(digest_size=12)
    shapes = {name: tuple(weights.shape) for name, weights in frozen_weights(model).items()}
    digest.update(repr((shapes, plan, SEED, torch.__version__)).encode())
    for tensor in (samples.inputs, samples.labels):
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _cache_folder() -> Path:
    """Return the folder of this package in the user's cache."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "fl-deepcabac"
