# SPDX-License-Identifier: Apache-2.0
"""The settings of a run: what is refused, and how they travel."""

from __future__ import annotations

from typing import Any

import pytest

from fl_deepcabac.experiments.settings import RunSettings, SettingsError


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("task", "cifar"),
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
