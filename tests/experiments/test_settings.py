# SPDX-License-Identifier: Apache-2.0
"""The settings of a run: what is refused, and how they travel."""

from __future__ import annotations

from typing import Any

import pytest

from fl_deepcabac.cli.arguments import build_parser, run_settings_of
from fl_deepcabac.experiments.settings import RunSettings, SettingsError


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("task", "cifar"),
        ("task", 5),
        ("task", "digits:"),
        ("task", "digits:mnist"),
        ("task", "flwr-datasets"),
        ("task", "flwr-datasets:"),
        ("model", "vgg"),
        ("model", 8),
        ("optimizer", "lion"),
        ("weight_decay", -0.1),
        ("weight_decay", float("nan")),
        ("strategy", "fedsgd"),
        ("clients", 0),
        ("clients", True),
        ("clients", 2.0),
        ("rounds", 0),
        ("rounds", -3),
        ("alpha", 0.0),
        ("alpha", -0.5),
        ("alpha", float("nan")),
        ("alpha", float("inf")),
        ("alpha", "IID"),
        ("alpha", "Natural"),
        ("fraction", 0.0),
        ("fraction", 1.01),
        ("fraction", -0.1),
        ("seed", -1),
        ("seed", 2**63),
        ("local_epochs", 0),
        ("max_steps", 0),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("workers", 0),
    ],
)
def test_settings_refuse_values_out_of_range(field: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=rf"setting '{field}': expected .*, found") as info:
        RunSettings(**{field: value})
    assert info.value.field == field


def test_settings_survive_json() -> None:
    settings = RunSettings(task="fashion-mnist", data_dir="/data", alpha=None, learning_rate=0.1)
    assert RunSettings.from_json(settings.to_json()) == settings


@pytest.mark.parametrize(
    ("task", "alpha"),
    [("digits", 0.5), ("flwr-datasets:ylecun/mnist", 0.5), ("shakespeare", "natural")],
)
def test_alpha_is_what_suits_the_task_unless_it_is_given(task: str, alpha: float | str) -> None:
    assert RunSettings(task=task).alpha == RunSettings(task=task, alpha="auto").alpha == alpha
    assert RunSettings(task=task, alpha=None).alpha is None
    assert RunSettings(task=task, alpha="iid").alpha is None
    assert RunSettings(task=task, alpha=2).alpha == 2.0
    settings = RunSettings(task=task, alpha="natural", model="mlp", optimizer="adamw")
    assert RunSettings.from_json(settings.to_json()) == settings
    assert "auto" not in RunSettings(task=task).to_json()


@pytest.mark.parametrize("text", ["", "[]", '{"tasks": "digits"}', '{"clients": "many"}'])
def test_settings_refuse_other_json(text: str) -> None:
    with pytest.raises(SettingsError, match="expected"):
        RunSettings.from_json(text)


@pytest.mark.parametrize(
    ("clients", "fraction", "expected"),
    [(10, 1.0, 10), (100, 0.29, 29), (10, 0.01, 1), (1, 1.0, 1)],
)
def test_cohort_size_is_the_fraction_and_at_least_one(
    clients: int, fraction: float, expected: int
) -> None:
    assert RunSettings(clients=clients, fraction=fraction).cohort_size == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", RunSettings()),
        ("--task shakespeare", RunSettings(task="shakespeare", alpha="natural")),
        ("--task shakespeare --alpha iid", RunSettings(task="shakespeare", alpha=None)),
        ("--alpha natural", RunSettings(alpha="natural")),
        ("--alpha auto", RunSettings(alpha=0.5)),
        (
            "--task flwr-datasets:ylecun/mnist --model resnet8 --optimizer adamw --weight-decay 0",
            RunSettings(
                task="flwr-datasets:ylecun/mnist",
                model="resnet8",
                optimizer="adamw",
                weight_decay=0.0,
            ),
        ),
    ],
)
def test_command_line_makes_the_same_settings(options: str, expected: RunSettings) -> None:
    arguments = build_parser().parse_args(["simulate", *options.split()])
    assert run_settings_of(arguments) == expected
