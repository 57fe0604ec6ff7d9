# SPDX-License-Identifier: Apache-2.0
"""Whole runs of every kind of model, small: statistics, sequences and adapters travel, too."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from experiments.in_process import in_process
from torch import nn

from fl_deepcabac.experiments import base_weights
from fl_deepcabac.experiments.client import load_partitioned
from fl_deepcabac.experiments.codecs import DeepCabac, Uncompressed
from fl_deepcabac.experiments.models.lora import LowRankLinear
from fl_deepcabac.experiments.models.transformer import CharTransformer
from fl_deepcabac.experiments.runner import run_federated
from fl_deepcabac.experiments.settings import RunSettings
from fl_deepcabac.experiments.tasks import Samples, TaskData, digits, shakespeare

CODECS = pytest.mark.parametrize("codec", [Uncompressed(), DeepCabac()], ids=["plain", "coded"])
DIGITS = RunSettings(clients=2, rounds=2, max_steps=2, batch_size=32)
TEXT = RunSettings(task="shakespeare", clients=2, rounds=2, max_steps=4)
N_CHARACTERS, LENGTH, WIDTH = 7, 8, 16


def sequences(n: int) -> Samples:
    """Return sequences that count upwards, from anywhere."""
    counted = (torch.arange(LENGTH + 1) + torch.arange(n)[:, None]) % N_CHARACTERS
    return Samples(counted[:, :-1], counted[:, 1:])


def build_small(linear: Any) -> CharTransformer:
    text = {"n_characters": N_CHARACTERS, "length": LENGTH}
    return CharTransformer(**text, width=WIDTH, n_layers=1, linear=linear)


def build_adapted() -> CharTransformer:
    model = build_small(partial(LowRankLinear, rank=2))
    for name, weights in model.named_parameters():
        weights.requires_grad_("lora_" in name)
    return model


@pytest.fixture(autouse=True)
def _small_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave the digits a sixth of their samples, and let counting stand for Shakespeare."""
    data = digits.TASK.load_data(None)
    few = TaskData(data.train.take(np.arange(240)), data.test.take(np.arange(60)))
    monkeypatch.setattr(digits, "TASK", dataclasses.replace(digits.TASK, load_data=lambda _: few))
    parts = [np.arange(start, start + 20) for start in (0, 20, 40)]
    text = TaskData(sequences(60), sequences(20), parts=parts, public=sequences(30))
    models = {"transformer": partial(build_small, nn.Linear), "lora": build_adapted}
    small = dataclasses.replace(shakespeare.TASK, load_data=lambda _: text, models=models)
    monkeypatch.setattr(shakespeare, "TASK", small)
    monkeypatch.setattr(base_weights, "N_STEPS", 20)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    load_partitioned.cache_clear()
    yield
    load_partitioned.cache_clear()


@CODECS
@pytest.mark.parametrize(("model", "optimizer"), [("mlp", "adamw"), ("resnet8", None)])
def test_pictures(codec: Uncompressed | DeepCabac, model: str, optimizer: str | None) -> None:
    settings = dataclasses.replace(DIGITS, model=model, optimizer=optimizer)
    result = run_federated(settings, codec, engine=in_process)
    assert [row.failures for row in result.rows] == [0, 0]
    assert result.rows[1].loss is not None
    assert all(np.isfinite(array).all() for array in result.weights.values())
    again = run_federated(settings, codec, engine=in_process)
    for name, array in result.weights.items():
        assert np.array_equal(array, again.weights[name]), name


@CODECS
def test_optimizers_and_decay_make_a_difference(codec: Uncompressed | DeepCabac) -> None:
    settings = dataclasses.replace(DIGITS, model="mlp", rounds=1)
    changes: list[dict[str, Any]] = [
        {},
        {"optimizer": "adamw"},
        {"weight_decay": 0.1},
        {"optimizer": "adamw", "weight_decay": 0.5},
    ]
    losses = set()
    for change in changes:
        changed = dataclasses.replace(settings, **change)
        [row] = run_federated(changed, codec, engine=in_process).rows
        losses.add(row.loss)
    assert len(losses) == len(changes)


@CODECS
def test_sequences(codec: Uncompressed | DeepCabac) -> None:
    result = run_federated(TEXT, codec, engine=in_process)
    assert [row.failures for row in result.rows] == [0, 0]
    assert result.rows[0].loss is not None
    assert 0 < result.rows[0].loss < 3
    assert result.rows[0].accuracy is not None
    # One in 160 positions: per position, not per sequence.
    assert (result.rows[0].accuracy * 160) % 1 == pytest.approx(0, abs=1e-9)


@CODECS
def test_adapters_are_all_that_travels(codec: Uncompressed | DeepCabac) -> None:
    settings = dataclasses.replace(TEXT, model="lora", learning_rate=0.01)
    result = run_federated(settings, codec, engine=in_process)
    n_adapters = 2 * (WIDTH * (4 + 2 + 5 + 5))
    assert len(result.weights) == 8
    assert all("lora_" in name for name in result.weights)
    for row in result.rows:
        assert row.n_weights == n_adapters
        assert row.uplink_raw_bytes == 4 * n_adapters * 2
        assert row.failures == 0
    assert any(np.any(array) for name, array in result.weights.items() if "lora_B" in name)
    # It starts from what the base has learnt.
    assert result.rows[0].accuracy is not None
    assert result.rows[0].accuracy > 0.4
