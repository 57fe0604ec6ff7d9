# SPDX-License-Identifier: Apache-2.0
"""Training and judging: learns, repeats, and keeps to its arguments."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn

from fl_deepcabac.experiments.tasks import Samples, TrainingPlan
from fl_deepcabac.experiments.training import initial_model, judge_model, train_model

PLAN = TrainingPlan(local_epochs=3, batch_size=8, learning_rate=0.1, momentum=0.9)


def build_model() -> nn.Module:
    return nn.Linear(2, 2)


def two_clouds() -> Samples:
    """Return 64 points around two centres, told apart by the sign of the first coordinate."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(64) % 2
    inputs = torch.randn(64, 2, generator=generator) * 0.3
    inputs[:, 0] += 2.0 * labels - 1.0
    return Samples(inputs, labels)


def weights_of(model: nn.Module) -> list[float]:
    return [float(w) for tensor in model.parameters() for w in tensor.detach().flatten()]


def test_training_learns() -> None:
    model = initial_model(build_model, seed=0)
    before = judge_model(model, two_clouds())
    train_model(model, two_clouds(), plan=PLAN, seed=0)
    after = judge_model(model, two_clouds())
    assert after.accuracy > 0.95
    assert after.loss < before.loss


def test_training_repeats_and_depends_on_the_seed() -> None:
    trained = []
    for seed in (1, 1, 2):
        model = initial_model(build_model, seed=0)
        train_model(model, two_clouds(), plan=PLAN, seed=seed)
        trained.append(weights_of(model))
    assert trained[0] == trained[1] != trained[2]


def test_training_stops_after_its_last_step() -> None:
    """Two epochs of eight steps, cut off after eight, are one epoch."""
    trained = []
    for epochs, max_steps in ((1, None), (2, 8), (2, None)):
        model = initial_model(build_model, seed=0)
        plan = dataclasses.replace(PLAN, local_epochs=epochs, max_steps=max_steps)
        train_model(model, two_clouds(), plan=plan, seed=0)
        trained.append(weights_of(model))
    assert trained[0] == trained[1] != trained[2]


def test_nothing_touches_the_global_generator() -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    train_model(initial_model(build_model, seed=0), two_clouds(), plan=PLAN, seed=0)
    assert torch.rand(1) == expected


def test_initial_weights_depend_on_the_seed_alone() -> None:
    first, again, other = (weights_of(initial_model(build_model, seed=n)) for n in (0, 0, 1))
    assert first == again != other


def test_proximal_term_holds_the_weights_back() -> None:
    distances = []
    for mu in (0.0, 1.0):
        model = initial_model(build_model, seed=0)
        start = weights_of(model)
        train_model(model, two_clouds(), plan=PLAN, seed=0, proximal_mu=mu)
        distances.append(math.dist(start, weights_of(model)))
    assert distances[1] < 0.8 * distances[0]


def test_judgement_is_exact_beyond_one_batch() -> None:
    model = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        model.weight[:] = torch.tensor([[-1.0], [1.0]])
    n_samples = 1000
    labels = (torch.arange(n_samples) < 900).long()
    verdict = judge_model(model, Samples(torch.ones(n_samples, 1), labels))
    assert verdict.accuracy == 0.9
    expected = 0.9 * math.log1p(math.exp(-2)) + 0.1 * math.log1p(math.exp(2))
    assert verdict.loss == pytest.approx(expected, rel=1e-5)
