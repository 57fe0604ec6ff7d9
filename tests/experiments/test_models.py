# SPDX-License-Identifier: Apache-2.0
"""The models: what they take and give, how large they are, and what of them travels."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from fl_deepcabac.experiments.models import picture_models, text_models
from fl_deepcabac.experiments.models.lora import LowRankLinear, build_adapted
from fl_deepcabac.experiments.training import initial_model
from fl_deepcabac.experiments.travelling import (
    frozen_weights,
    load_travelling,
    travelling_weights,
)

N_CHARACTERS, LENGTH = 63, 80
TEXT_MODELS = text_models(n_characters=N_CHARACTERS, length=LENGTH)


def n_weights(model: nn.Module) -> int:
    return sum(weights.numel() for weights in model.parameters())


def some_text(n: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(N_CHARACTERS, (n, LENGTH), generator=generator)


@pytest.mark.parametrize(
    ("name", "side", "n_channels", "expected"),
    [
        ("convnet", 8, 1, 151_306),
        ("convnet", 28, 1, 421_642),
        ("convnet", 32, 3, 545_098),
        ("mlp", 8, 1, 34_110),
        ("mlp", 28, 1, 178_110),
        ("resnet8", 8, 1, 77_754),
        ("resnet8", 28, 1, 77_754),
        ("resnet8", 32, 3, 78_042),
    ],
)
def test_picture_models_score_classes(name: str, side: int, n_channels: int, expected: int) -> None:
    model = picture_models(side=side, n_classes=10, n_channels=n_channels)[name]()
    assert n_weights(model) == expected
    assert model(torch.zeros(3, n_channels, side, side)).shape == (3, 10)


def test_resnet_trains_on_a_batch_of_one() -> None:
    model = picture_models(side=5, n_classes=10)["resnet8"]().train()
    assert torch.isfinite(model(torch.rand(1, 1, 5, 5))).all()


def test_resnet_sends_statistics_and_counters() -> None:
    model = picture_models(side=8, n_classes=10)["resnet8"]()
    sent = travelling_weights(model)
    n_statistics = sum(t.numel() for name, t in sent.items() if "running_" in name)
    counters = [t for name, t in sent.items() if name.endswith("num_batches_tracked")]
    assert (n_statistics, len(counters)) == (672, 9)
    assert all(counter.dtype == torch.int64 and counter.dim() == 0 for counter in counters)
    assert sum(t.numel() for t in sent.values()) == 77_754 + 672 + 9


@pytest.mark.parametrize(("name", "expected"), [("transformer", 327_327), ("lora", 341_663)])
def test_text_models_score_the_next_character_everywhere(name: str, expected: int) -> None:
    model = TEXT_MODELS[name]()
    assert n_weights(model) == expected
    assert model(some_text()).shape == (2, LENGTH, N_CHARACTERS)
    assert model(some_text()[:, :7]).shape == (2, 7, N_CHARACTERS)


@pytest.mark.parametrize("name", ["transformer", "lora"])
def test_text_models_do_not_see_what_they_tell(name: str) -> None:
    model = initial_model(TEXT_MODELS[name], seed=0)
    text = some_text(1)
    changed = text.clone()
    changed[0, 40] = (changed[0, 40] + 1) % N_CHARACTERS
    same = torch.isclose(model(text), model(changed), atol=1e-6).all(dim=2)[0]
    assert same[:40].all()
    assert not same[40:].any()


def test_fresh_adapters_change_nothing_and_trained_ones_do() -> None:
    layer = initial_model(lambda: LowRankLinear(6, 5, rank=2), seed=0)
    inputs = torch.rand(3, 6)
    plain = nn.functional.linear(inputs, layer.weight, layer.bias)
    assert torch.equal(layer(inputs), plain)
    nn.init.ones_(layer.lora_B)
    added = 2.0 * inputs @ (layer.lora_B @ layer.lora_A).T
    assert torch.allclose(layer(inputs), plain + added, atol=1e-6)


def test_only_adapters_travel() -> None:
    model = TEXT_MODELS["lora"]()
    sent = travelling_weights(model)
    assert sum(t.numel() for t in sent.values()) == 14_336
    assert len(sent) == 16
    assert set(sent) | set(frozen_weights(model)) == set(model.state_dict())
    assert set(frozen_weights(model)) == set(TEXT_MODELS["transformer"]().state_dict())
    assert sent["blocks.1.up.lora_A"].shape == (4, 112)
    assert sent["blocks.1.up.lora_B"].shape == (448, 4)
    wider = build_adapted(n_characters=N_CHARACTERS, length=LENGTH, rank=8)
    assert sum(t.numel() for t in travelling_weights(wider).values()) == 2 * 14_336


@pytest.mark.parametrize("build", TEXT_MODELS.values(), ids=TEXT_MODELS.keys())
def test_what_travels_makes_the_other_model_equal(build: Callable[[], nn.Module]) -> None:
    source, target = initial_model(build, seed=0), initial_model(build, seed=0)
    with torch.no_grad():
        for weights in travelling_weights(source).values():
            weights.add_(0.5)
    load_travelling(target, travelling_weights(source))
    for name, weights in source.state_dict().items():
        assert torch.equal(weights, target.state_dict()[name]), name


def test_other_names_are_refused() -> None:
    model = TEXT_MODELS["lora"]()
    sent = dict(travelling_weights(model))
    first = next(iter(sent))
    with pytest.raises(ValueError, match=r"expected the 16 tensors .* unknown: ln\.bias"):
        load_travelling(model, sent | {"ln.bias": torch.zeros(112)})
    lacking = {name: tensor for name, tensor in sent.items() if name != first}
    with pytest.raises(ValueError, match=f"missing or unknown: {first}"):
        load_travelling(model, lacking)
    with pytest.raises(RuntimeError, match="size mismatch"):
        load_travelling(model, sent | {first: torch.zeros(2, 2)})
