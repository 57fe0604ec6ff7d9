# SPDX-License-Identifier: Apache-2.0
"""The learning tasks, one file each, behind one small interface.

A task names its data, its models and how clients train on it; `get_task` finds it by the name that
`RunSettings.task` holds. A new task is a module with one `TASK`, and its name in
`settings.TASK_NAMES`; dashes in the name are underscores in that of the module. docs/tasks.md has a
whole one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from fl_deepcabac.errors import DeepCabacError
from fl_deepcabac.experiments.settings import RunSettings, SettingsError

__all__ = ["DataFileError", "Samples", "Task", "TaskData", "TrainingPlan", "get_task"]

# What an optimiser starts from where it is not the task's own.
_USUAL: Final[Mapping[str, Mapping[str, Any]]] = {
    "sgd": {"learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.0},
    "adamw": {"learning_rate": 1e-3, "momentum": 0.0, "weight_decay": 0.01},
}


class DataFileError(DeepCabacError, ValueError):
    """A file of a data set is missing or is not what it should be."""


@dataclass(frozen=True)
class Samples:
    """Inputs and their classes.

    Parameters
    ----------
    inputs : Tensor, shape (n, ...)
        What the model takes, sample by sample: float32 pictures or int64 characters.
    labels : Tensor, int64, shape (n,) or (n, length)
        Class of each sample, or of each position of its sequence.
    """

    inputs: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> Samples:
        """Return the samples at the indices."""
        chosen = torch.from_numpy(indices)
        return Samples(self.inputs[chosen], self.labels[chosen])


@dataclass(frozen=True)
class TaskData:
    """All samples of a task.

    Parameters
    ----------
    train : Samples
        Shared out between clients.
    test : Samples
        Kept by the server.
    parts : sequence of ndarray, int64, optional
        Natural parts of the training samples, such as one for each writer, as sorted indices; a
        client gets one of them where `RunSettings.alpha` is ``"natural"``.
    public : Samples, optional
        What neither clients nor the test have: a frozen base is trained on it before the run.
    base : mapping of str to Tensor, optional
        The weights of that base, as `base_weights` made them; no task sets it.
    """

    train: Samples
    test: Samples
    parts: Sequence[NDArray[np.int64]] | None = None
    public: Samples | None = None
    base: Mapping[str, torch.Tensor] | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """How a client trains in one round.

    Parameters
    ----------
    local_epochs : int
        Passes over the client's samples.
    max_steps : int, optional
        Steps after which a client stops, whatever is left of its passes.
    batch_size : int
        Samples per step.
    optimizer : str
        One of `settings.OPTIMIZER_NAMES`. It starts afresh every round.
    learning_rate, weight_decay : float
        Of the optimiser; AdamW's decay is apart from the gradient, SGD's is part of it.
    momentum : float
        Of SGD.
    """

    local_epochs: int
    max_steps: int | None = None
    batch_size: int
    optimizer: str = "sgd"
    learning_rate: float
    momentum: float = 0.0
    weight_decay: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Task:
    """One learning task.

    Parameters
    ----------
    name : str
        As in `RunSettings.task`.
    load_data : callable
        Takes a folder, or None for the place the task knows, and returns `TaskData`; raises
        `DataFileError` for a missing or broken file.
    models : mapping of str to callable
        By their names in `settings.MODEL_NAMES`, what returns a fresh model; the first is the
        task's own. Whoever calls it seeds torch.
    plan : TrainingPlan
        Used where the settings of a run say nothing else.
    """

    name: str
    load_data: Callable[[Path | None], TaskData]
    models: Mapping[str, Callable[[], torch.nn.Module]]
    plan: TrainingPlan

    def build_model(self, name: str | None = None) -> torch.nn.Module:
        """Return a fresh model.

        Parameters
        ----------
        name : str, optional
            As in `RunSettings.model`.

        Returns
        -------
        Module

        Raises
        ------
        SettingsError
            If the task has no such model.
        """
        name = next(iter(self.models)) if name is None else name
        if name not in self.models:
            expected = f"one of {', '.join(self.models)} for the task {self.name}"
            raise SettingsError("model", expected=expected, found=name)
        return self.models[name]()

    def plan_for(self, settings: RunSettings) -> TrainingPlan:
        """Return the plan with what the settings override."""
        plan = self.plan
        if settings.optimizer not in {None, plan.optimizer}:
            plan = replace(plan, optimizer=settings.optimizer, **_USUAL[str(settings.optimizer)])
        overridden = ("local_epochs", "max_steps", "batch_size", "learning_rate", "weight_decay")
        given = {name: getattr(settings, name) for name in overridden}
        return replace(plan, **{name: value for name, value in given.items() if value is not None})


def get_task(name: str, data_dir: Path | None = None) -> Task:
    """Return the task of that name, importing only its own module.

    Parameters
    ----------
    name : str
        As in `RunSettings.task`.
    data_dir : Path, optional
        Where the files of the data set are, if the name holds one: only then is it looked at.

    Returns
    -------
    Task

    Raises
    ------
    DataFileError
        If the name holds that of a data set, and that cannot be had.
    """
    kind, _, dataset = name.partition(":")
    module = import_module(f"fl_deepcabac.experiments.tasks.{kind.replace('-', '_')}")
    task: Task = module.make_task(dataset, data_dir) if dataset else module.TASK
    return task
