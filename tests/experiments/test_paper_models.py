# SPDX-License-Identifier: Apache-2.0
"""The networks of the paper's tables: of the right size, trained sparse, and their sensitivity."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from fl_deepcabac.experiments.paper_models import (
    LeNet5,
    LeNet300,
    PruningPlan,
    ResNet20,
    ResNet56,
    fisher_diagonal,
    precision,
    train_sparse,
)
from fl_deepcabac.experiments.tasks import Samples
from fl_deepcabac.models import fold_batch_norm


@pytest.mark.parametrize(
    ("build", "shape", "n_classes", "n_weights"),
    [
        (LeNet300, (1, 28, 28), 10, 266_610),
        (LeNet5, (1, 28, 28), 10, 431_080),
        (ResNet20, (3, 32, 32), 10, 269_722),
        (ResNet56, (3, 32, 32), 100, 614_452),
    ],
)
def test_networks_have_their_published_size(
    build: Callable[[], nn.Module], shape: tuple[int, ...], n_classes: int, n_weights: int
) -> None:
    model = build().eval()
    assert sum(weights.numel() for weights in model.parameters()) == n_weights
    with torch.inference_mode():
        assert model(torch.rand(2, *shape)).shape == (2, n_classes)


def test_folded_resnet_computes_the_same() -> None:
    torch.manual_seed(3)
    model = ResNet20()
    for name, buffer in model.named_buffers():
        if "running" in name:
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    inputs = torch.rand(2, 3, 32, 32)
    weights = {name: tensor.numpy().copy() for name, tensor in model.eval().state_dict().items()}
    layers = {
        name.removesuffix(".weight"): name.removesuffix(".weight").replace("conv", "bn")
        for name in weights
        if name.endswith(".weight") and "conv" in name
    }
    assert len(layers) == 19
    with torch.inference_mode():
        expected = model(inputs)
        folded = fold_batch_norm(weights, layers)
        model.load_state_dict({name: torch.from_numpy(array) for name, array in folded.items()})
        torch.testing.assert_close(model(inputs), expected, rtol=1e-3, atol=1e-4)


def make_samples(n: int = 256) -> Samples:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(n, 12, generator=generator)
    return Samples(inputs, (inputs[:, 0] + inputs[:, 1] > 0).long())


def make_model() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(12, 40), nn.ReLU(), nn.Linear(40, 2))


def accuracy(model: nn.Module, samples: Samples) -> float:
    with torch.inference_mode():
        return float((model(samples.inputs).argmax(1) == samples.labels).float().mean())


@pytest.mark.parametrize("density", [1.0, 0.2, 0.05])
def test_model_is_as_dense_as_planned_and_still_good(density: float) -> None:
    samples, seen = make_samples(), list[float]()
    plan = PruningPlan(
        density=density,
        dense_epochs=5,
        pruning_epochs=10,
        settling_epochs=15,
        batch_size=32,
        learning_rate=0.01,
        steps_between=4,
    )
    model = train_sparse(
        make_model(), samples, plan, seed=0, on_epoch=lambda _, density: seen.append(density)
    )
    matrices = [weights for weights in model.parameters() if weights.dim() > 1]
    n_left = sum(int(weights.count_nonzero()) for weights in matrices)
    assert n_left == pytest.approx(density * (12 * 40 + 40 * 2), abs=1)
    assert seen[:5] == [1.0] * 5
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] == pytest.approx(density, abs=0.002)
    assert accuracy(model, samples) > 0.95


def test_training_repeats() -> None:
    plan = PruningPlan(density=0.1, dense_epochs=1, pruning_epochs=2, settling_epochs=1)
    one, other = (train_sparse(make_model(), make_samples(), plan, seed=4) for _ in range(2))
    for left, right in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(left, right)


def test_fisher_is_the_formula_for_a_linear_model() -> None:
    model = nn.Linear(3, 2)
    inputs = torch.randn(4000, 3, generator=torch.Generator().manual_seed(5))
    found = fisher_diagonal(model, inputs)
    with torch.inference_mode():
        chance = model(inputs).softmax(-1)
        variance = chance * (1 - chance)
        expected = (variance[:, :, None] * inputs[:, None, :].square()).mean(0).numpy()
    np.testing.assert_allclose(found["weight"], expected, rtol=0.15)
    np.testing.assert_allclose(found["bias"], variance.mean(0).numpy(), rtol=0.15)
    assert found["weight"].dtype == np.float32
    np.testing.assert_array_equal(fisher_diagonal(model, inputs)["weight"], found["weight"])


def test_fisher_leaves_a_model_with_statistics_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = fisher_diagonal(model, torch.randn(50, 3))
    assert found.keys() == dict(model.named_parameters()).keys()
    assert all((array >= 0).all() for array in found.values())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_precision_grows_with_samples_from_that_of_the_prior() -> None:
    fisher = {"w": np.array([0.0, 0.5], np.float32)}
    np.testing.assert_array_equal(precision(fisher, n_samples=100, prior=3.0)["w"], [3.0, 53.0])
