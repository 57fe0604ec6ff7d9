# SPDX-License-Identifier: Apache-2.0
"""The tasks: that each is whole, and what the oldest of them must go on being."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from fl_deepcabac.experiments.client import load_partitioned
from fl_deepcabac.experiments.settings import (
    MODEL_NAMES,
    OPTIMIZER_NAMES,
    TASK_NAMES,
    RunSettings,
    SettingsError,
)
from fl_deepcabac.experiments.tasks import TrainingPlan, get_task
from fl_deepcabac.experiments.training import initial_model

# The rest is made for a data set, which needs one: see test_flwr_datasets.
NAMES = [name for name in TASK_NAMES if name != "flwr-datasets"]

PART_SIZES = [111, 93, 202, 153, 103, 144, 90, 156, 276, 109]
PART_DIGEST = "1fdb2c9d1e6ed2be"
FIRST_WEIGHTS = {"conv1.weight": -0.33049101, "fc2.bias": -0.08576191}


@pytest.mark.parametrize("name", NAMES)
def test_task_is_found_by_its_name(name: str) -> None:
    task = get_task(name)
    assert task.name == name
    assert set(task.models) <= set(MODEL_NAMES)
    assert task.plan.optimizer in OPTIMIZER_NAMES


def test_every_model_has_a_task() -> None:
    assert {model for name in NAMES for model in get_task(name).models} == set(MODEL_NAMES)


@pytest.mark.parametrize(
    ("name", "n_weights", "shape"),
    [
        ("digits", 151_306, (1, 8, 8)),
        ("fashion-mnist", 421_642, (1, 28, 28)),
        ("mnist", 421_642, (1, 28, 28)),
    ],
)
def test_own_model_takes_the_task_and_scores_ten_classes(
    name: str, n_weights: int, shape: tuple[int, ...]
) -> None:
    model = get_task(name).build_model()
    assert sum(weights.numel() for weights in model.parameters()) == n_weights
    assert model(torch.zeros(3, *shape)).shape == (3, 10)


def test_model_of_another_kind_is_refused() -> None:
    expected = "one of convnet, mlp, resnet8 for the task digits, found 'lora'"
    with pytest.raises(SettingsError, match=expected):
        get_task("digits").build_model("lora")
    with pytest.raises(SettingsError, match=expected):
        load_partitioned(RunSettings(model="lora"))


def test_digits_are_split_once_and_for_all() -> None:
    data = get_task("digits").load_data(None)
    assert (len(data.train), len(data.test)) == (1437, 360)
    assert data.train.inputs.dtype == torch.float32
    assert (float(data.train.inputs.min()), float(data.train.inputs.max())) == (0.0, 1.0)
    assert torch.bincount(data.test.labels).min() >= 34


def test_digits_start_where_they_always_did() -> None:
    """The figures of the demo are of these parts and these weights."""
    _, parts = load_partitioned(RunSettings(seed=3))
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.astype("<i8").tobytes())
    assert [len(part) for part in parts] == PART_SIZES
    assert digest.hexdigest()[:16] == PART_DIGEST
    model = initial_model(get_task("digits").build_model, seed=3)
    for name, expected in FIRST_WEIGHTS.items():
        assert model.get_parameter(name).flatten()[0].item() == pytest.approx(expected, rel=1e-5)


def test_plan_takes_what_the_settings_say() -> None:
    task = get_task("digits")
    plan = task.plan_for(RunSettings(local_epochs=7, learning_rate=0.5, weight_decay=0.1))
    assert (plan.local_epochs, plan.learning_rate, plan.weight_decay) == (7, 0.5, 0.1)
    assert (plan.batch_size, plan.optimizer) == (task.plan.batch_size, "sgd")
    assert task.plan_for(RunSettings(optimizer="sgd")) == task.plan
    own = get_task("shakespeare")
    assert own.plan_for(RunSettings(task="shakespeare", weight_decay=0.0)).weight_decay == 0.0


@pytest.mark.parametrize(("name", "other"), [("digits", "adamw"), ("shakespeare", "sgd")])
def test_other_optimizer_brings_rates_that_suit_it(name: str, other: str) -> None:
    own = get_task(name).plan
    plan = get_task(name).plan_for(RunSettings(optimizer=other))
    usual = {
        "sgd": {"learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.0},
        "adamw": {"learning_rate": 1e-3, "momentum": 0.0, "weight_decay": 0.01},
    }
    rest = {"local_epochs": own.local_epochs, "max_steps": own.max_steps}
    assert plan == TrainingPlan(batch_size=own.batch_size, optimizer=other, **rest, **usual[other])
    faster = get_task(name).plan_for(RunSettings(optimizer=other, learning_rate=0.02))
    assert faster.learning_rate == 0.02


def test_samples_are_taken_with_their_labels() -> None:
    data = get_task("digits").load_data(None)
    few = data.train.take(np.array([5, 2]))
    assert torch.equal(few.inputs[1], data.train.inputs[2])
    assert few.labels.tolist() == [int(data.train.labels[5]), int(data.train.labels[2])]
