# SPDX-License-Identifier: Apache-2.0
"""The learning tasks, one file each, behind one small interface.

A task names its data, its model and how clients train on it; `get_task` finds it by the name that
`RunSettings.task` holds. A new task is a module with one `TASK`, and its name in
`settings.TASK_NAMES`; dashes in the name are underscores in that of the module.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fl_deepcabac.errors import DeepCabacError
from fl_deepcabac.experiments.settings import RunSettings

__all__ = ["DataFileError", "Samples", "Task", "TaskData", "TrainingPlan", "get_task"]


class DataFileError(DeepCabacError, ValueError):
    """A file of a data set is missing or is not what it should be."""


@dataclass(frozen=True)
class Samples:
    """Inputs and their classes.

    Parameters
    ----------
    inputs : Tensor, float32, shape (n, ...)
        What the model takes, sample by sample.
    labels : Tensor, int64, shape (n,)
        Class of each sample.
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
    """Training samples, shared out between clients, and test samples, which the server keeps."""

    train: Samples
    test: Samples


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """How a client trains in one round: SGD with momentum.

    Parameters
    ----------
    local_epochs : int
        Passes over the client's samples.
    max_steps : int, optional
        Steps after which a client stops, whatever is left of its passes.
    batch_size : int
        Samples per step.
    learning_rate, momentum : float
        Of the optimiser, which starts afresh every round.
    """

    local_epochs: int
    max_steps: int | None = None
    batch_size: int
    learning_rate: float
    momentum: float


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
    build_model : callable
        Returns a fresh model. Whoever calls it seeds torch.
    plan : TrainingPlan
        Used where the settings of a run say nothing else.
    """

    name: str
    load_data: Callable[[Path | None], TaskData]
    build_model: Callable[[], torch.nn.Module]
    plan: TrainingPlan

    def plan_for(self, settings: RunSettings) -> TrainingPlan:
        """Return the plan with what the settings override."""
        return TrainingPlan(
            local_epochs=settings.local_epochs or self.plan.local_epochs,
            max_steps=settings.max_steps or self.plan.max_steps,
            batch_size=settings.batch_size or self.plan.batch_size,
            learning_rate=settings.learning_rate or self.plan.learning_rate,
            momentum=self.plan.momentum,
        )


def get_task(name: str) -> Task:
    """Return the task of that name, importing only its own module.

    Parameters
    ----------
    name : str
        One of `settings.TASK_NAMES`.

    Returns
    -------
    Task
    """
    module = import_module(f"fl_deepcabac.experiments.tasks.{name.replace('-', '_')}")
    task: Task = module.TASK
    return task
