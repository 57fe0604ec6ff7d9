# SPDX-License-Identifier: Apache-2.0
"""With error feedback, what an update says arrives in the end, whatever its distribution."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

import fl_deepcabac as dc
from fl_deepcabac.feedback import Residual, carry_residual, find_residual

N_ROUNDS = 40


def tensor_like(distribution: str) -> NDArray[np.float32]:
    generator = np.random.Generator(np.random.Philox(7))
    values = {
        "constant": lambda: np.sign(generator.standard_normal((60, 50))),
        "uniform": lambda: generator.uniform(-1, 1, (60, 50)),
        "gaussian": lambda: generator.standard_normal((60, 50)),
        "heavy": lambda: generator.standard_t(3, (60, 50)),
    }[distribution]()
    return (0.01 * values).astype(np.float32)


@pytest.mark.parametrize("distribution", ["constant", "uniform", "gaussian", "heavy"])
@pytest.mark.parametrize("relative_step", [1.0, dc.CodecConfig().relative_step, 6.0])
def test_repeated_update_arrives_at_any_step(distribution: str, relative_step: float) -> None:
    update = {"w": tensor_like(distribution)}
    schema = dc.Schema.from_arrays(update)
    encoder = dc.UpdateEncoder(schema, dc.CodecConfig(relative_step=relative_step))
    residual: Residual = {}
    arrived = np.zeros((60, 50))
    for _ in range(N_ROUNDS):
        encoded = encoder.encode(update, residual=residual)
        residual = find_residual(carry_residual(update, residual, schema), encoded.decoded, schema)
        arrived += encoded.decoded["w"]
    part = float((arrived * update["w"]).sum() / (N_ROUNDS * (update["w"] ** 2).sum()))
    assert 0.9 < part < 1.1


def test_large_residual_of_a_tiny_update_stays_within_the_levels() -> None:
    update = {"w": np.full((4, 4), 1e-12, np.float32)}
    schema = dc.Schema.from_arrays(update)
    encoder = dc.UpdateEncoder(schema, dc.CodecConfig(relative_step=3.0))
    encoded = encoder.encode(update, residual={"w": np.full((4, 4), 0.5, np.float32)})
    assert np.allclose(encoded.decoded["w"], 0.5, atol=0.25)
    assert encoded.report.packet_bytes < 64
