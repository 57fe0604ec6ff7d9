# SPDX-License-Identifier: Apache-2.0
"""Importance from a client's own gradients: the sums by hand, and the whole way to the packets."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from experiments.in_process import in_process
from torch import nn

from fl_deepcabac.config import CodecConfig
from fl_deepcabac.errors import DeepCabacError
from fl_deepcabac.experiments.baselines.catalogue import build_codec
from fl_deepcabac.experiments.codecs import DeepCabac
from fl_deepcabac.experiments.gradient_squares import GradientSquares
from fl_deepcabac.experiments.runner import run_federated
from fl_deepcabac.experiments.settings import RunSettings, SettingsError


def squares_of(*gradients: list[float]) -> GradientSquares:
    """Return what a model of three weights, one frozen and one unused has come to."""
    model = nn.ParameterDict(
        {
            "w": nn.Parameter(torch.zeros(3)),
            "frozen": nn.Parameter(torch.zeros(2), requires_grad=False),
            "unused": nn.Parameter(torch.zeros(2)),
        }
    )
    squares = GradientSquares(model)
    for gradient in gradients:
        model["w"].grad = torch.tensor(gradient)
        squares.add()
    return squares


def test_importance_is_the_mean_square_beside_that_of_the_tensor() -> None:
    importance = squares_of([3.0, 0.0, 1.0], [1.0, 0.0, -1.0]).importance(1.0)
    assert list(importance) == ["w"]
    # Sums 10, 0 and 2, of mean 4.
    assert importance["w"].tolist() == pytest.approx([2.51, 0.01, 0.51])


def test_squares_of_large_gradients_stay_finite() -> None:
    importance = squares_of([3e30, 0.0, 1e30]).importance(1.0)
    assert importance["w"].tolist() == pytest.approx([2.71, 0.01, 0.31])
    assert importance["w"].dtype == torch.float32


def test_a_power_narrows_the_spread() -> None:
    importance = squares_of([3.0, 0.0, 1.0]).importance(0.5)
    assert importance["w"].tolist() == pytest.approx([2.7**0.5 + 0.01, 0.01, 0.3**0.5 + 0.01])


SETTINGS = RunSettings(task="digits", model="mlp", clients=2, rounds=2, alpha="iid", max_steps=4)


def rows_of(codec: DeepCabac) -> list[Any]:
    return run_federated(SETTINGS, codec, engine=in_process).rows


def test_it_reaches_the_packets_of_clients_and_changes_neither_their_number_nor_training() -> None:
    config = CodecConfig(relative_step=2.0)
    plain, weighed = (rows_of(DeepCabac(config, importance=power)) for power in (None, 1.0))
    assert plain[0].train_loss == weighed[0].train_loss
    assert [row.failures for row in weighed] == [0, 0]
    assert [row.uplink_packet_bytes for row in plain] != [
        row.uplink_packet_bytes for row in weighed
    ]


def test_a_study_names_it_and_describes_it() -> None:
    codec = build_codec({"name": "deepcabac", "relative_step": 2.0, "importance": 0.5})
    assert codec.describe()["importance"] == 0.5
    assert build_codec({"name": codec.name, **codec.describe()}).describe() == codec.describe()
    assert "importance" not in build_codec({"name": "deepcabac"}).describe()


@pytest.mark.parametrize("power", [0, -1.0, 3.0, "much", True, float("nan")])
def test_a_power_out_of_range_is_refused(power: object) -> None:
    with pytest.raises(SettingsError, match="importance"):
        build_codec({"name": "deepcabac", "importance": power})


def test_a_quantiser_without_weights_is_refused() -> None:
    with pytest.raises(DeepCabacError, match="rdoq, with importance"):
        build_codec({"name": "deepcabac", "importance": 1.0, "quantizer": "uniform"})
