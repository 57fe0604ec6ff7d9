# SPDX-License-Identifier: Apache-2.0
"""The frozen base under adapters: trained once, the same everywhere, and never a client's."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from fl_deepcabac.experiments import base_weights
from fl_deepcabac.experiments.base_weights import starting_model, with_base
from fl_deepcabac.experiments.models.lora import LowRankLinear
from fl_deepcabac.experiments.models.transformer import CharTransformer
from fl_deepcabac.experiments.settings import RunSettings
from fl_deepcabac.experiments.tasks import Samples, Task, TaskData, TrainingPlan
from fl_deepcabac.experiments.training import judge_model
from fl_deepcabac.experiments.travelling import frozen_weights, travelling_weights

LORA = RunSettings(task="shakespeare", model="lora")


def sequences(n: int) -> Samples:
    """Return sequences that count upwards, from anywhere."""
    counted = (torch.arange(9) + torch.arange(n)[:, None]) % 7
    return Samples(counted[:, :-1], counted[:, 1:])


def build_small(linear: Any) -> CharTransformer:
    return CharTransformer(n_characters=7, length=8, width=16, n_layers=1, linear=linear)


def build_adapted() -> CharTransformer:
    model = build_small(partial(LowRankLinear, rank=2))
    for name, weights in model.named_parameters():
        weights.requires_grad_("lora_" in name)
    return model


TASK = Task(
    name="counting",
    load_data=lambda _: DATA,
    models={"transformer": partial(build_small, torch.nn.Linear), "lora": build_adapted},
    plan=TrainingPlan(local_epochs=1, batch_size=4, optimizer="adamw", learning_rate=2e-2),
)
DATA = TaskData(train=sequences(8), test=sequences(8), public=sequences(16))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let a base be trained fast, and kept here."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(base_weights, "N_STEPS", 30)
    monkeypatch.setattr(base_weights, "BATCH_SIZE", 8)
    return tmp_path / "fl-deepcabac"


def same(a: Any, b: Any) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_base_has_learnt_and_is_the_same_for_all_seeds() -> None:
    data = with_base(TASK, DATA, "lora")
    models = [starting_model(TASK, data, dataclasses.replace(LORA, seed=n)) for n in (0, 1)]
    assert same(frozen_weights(models[0]), frozen_weights(models[1]))
    assert not same(travelling_weights(models[0]), travelling_weights(models[1]))
    without = starting_model(TASK, DATA, LORA)
    assert judge_model(models[0], DATA.test).accuracy > judge_model(without, DATA.test).accuracy
    assert judge_model(models[0], DATA.test).accuracy > 0.8


def test_base_is_kept_and_found_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = with_base(TASK, DATA, "lora").base
    [path] = cache.iterdir()
    monkeypatch.setattr(base_weights, "train_model", None)  # would fail if it were called
    assert same(with_base(TASK, DATA, "lora").base, first)
    monkeypatch.undo()
    assert path.suffix == ".safetensors"


def test_base_is_made_again_alike_where_it_is_damaged_or_cannot_be_kept(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = with_base(TASK, DATA, "lora").base
    [path] = cache.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    assert same(with_base(TASK, DATA, "lora").base, first)
    assert path.read_bytes() == whole
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert same(with_base(TASK, DATA, "lora").base, first)


def test_other_text_is_another_base(cache: Path) -> None:
    first = with_base(TASK, DATA, "lora").base
    other = dataclasses.replace(DATA, public=sequences(12))
    assert not same(with_base(TASK, other, "lora").base, first)
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize(
    ("data", "model"),
    [(DATA, "transformer"), (DATA, None), (TaskData(DATA.train, DATA.test), "lora")],
)
def test_no_base_is_made_where_none_is_needed_or_nothing_is_public(
    data: TaskData, model: str | None, cache: Path
) -> None:
    assert with_base(TASK, data, model) is data
    assert not cache.exists()


def test_seed_makes_the_base_where_nothing_is_public() -> None:
    data = TaskData(DATA.train, DATA.test)
    models = [starting_model(TASK, data, dataclasses.replace(LORA, seed=n)) for n in (0, 0, 1)]
    first, again, other = map(frozen_weights, models)
    assert same(first, again)
    assert not same(first, other)


def test_threads_are_as_before() -> None:
    n_threads = torch.get_num_threads()
    with_base(TASK, DATA, "lora")
    assert torch.get_num_threads() == n_threads
