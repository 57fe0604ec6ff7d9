# SPDX-License-Identifier: Apache-2.0
"""Updates made up by a fixed rule: the same float32 values on every machine.

Randomness is Philox's raw 64-bit words; all else is additions, products and quotients of doubles,
which IEEE 754 rounds alike everywhere. No logarithm, no distribution of NumPy's, no reduction.

Values resemble training: heavy tails, rows and columns of different scale, and weights that keep
moving in their direction for some rounds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Shapes = dict[str, tuple[int, ...]]
Update = dict[str, NDArray[np.float32]]
Levels = dict[str, NDArray[np.int32]]

# Convolutions, a hidden layer that holds most weights, and a classifier, by number of weights.
MODELS: dict[str, Shapes] = {
    "3k": {"f1.weight": (40, 64), "f1.bias": (40,), "f2.weight": (10, 40), "f2.bias": (10,)},
    "20k": {
        "c1.weight": (8, 1, 3, 3),
        "c1.bias": (8,),
        "c2.weight": (16, 8, 3, 3),
        "c2.bias": (16,),
        "f1.weight": (32, 576),
        "f1.bias": (32,),
        "f2.weight": (10, 32),
        "f2.bias": (10,),
    },
    "200k": {
        "c1.weight": (16, 1, 3, 3),
        "c1.bias": (16,),
        "c2.weight": (32, 16, 3, 3),
        "c2.bias": (32,),
        "f1.weight": (128, 1568),
        "f1.bias": (128,),
        "f2.weight": (10, 128),
        "f2.bias": (10,),
    },
    "400k": {
        "c1.weight": (32, 1, 3, 3),
        "c1.bias": (32,),
        "c2.weight": (64, 32, 3, 3),
        "c2.bias": (64,),
        "f1.weight": (128, 2976),
        "f1.bias": (128,),
        "f2.weight": (10, 128),
        "f2.bias": (10,),
    },
    "5M": {
        "f1.weight": (1024, 2048),
        "f1.bias": (1024,),
        "f2.weight": (1024, 1024),
        "f2.bias": (1024,),
        "f3.weight": (1792, 1024),
        "f3.bias": (1792,),
        "f4.weight": (10, 1792),
        "f4.bias": (10,),
    },
}
# Brings the root mean square to about 0.004, as in the recorded streams.
SCALE = 0.006


class Uniform:
    """Doubles in [0, 1) from Philox's raw words.

    Parameters
    ----------
    seed : int
    """

    def __init__(self, seed: int) -> None:
        self._generator = np.random.Philox(key=seed)

    def draw(self, n: int) -> NDArray[np.float64]:
        """Return `n` numbers."""
        return (self._generator.random_raw(n) >> np.uint64(11)) * 2.0**-53

    def heavy_tailed(self, n: int) -> NDArray[np.float64]:
        """Return `n` numbers around 0, root mean square 1.5, kurtosis about 10."""
        middle = self.draw(n) + self.draw(n) + self.draw(n) - 1.5
        return middle / (0.1 + self.draw(n))


def make_stream(model: str, n_rounds: int, *, seed: int = 1) -> list[Update]:
    """Return updates of one client over consecutive rounds.

    Parameters
    ----------
    model : str
        One of `MODELS`.
    n_rounds : int
    seed : int
    """
    shapes = MODELS[model]
    uniform = Uniform(seed)
    scales = {name: _scales(shape, uniform) for name, shape in shapes.items()}
    drifts = {name: np.zeros(scale.size) for name, scale in scales.items()}
    updates = []
    for _ in range(n_rounds):
        update = {}
        for name, scale in scales.items():
            drifts[name] = 0.75 * drifts[name] + 0.5 * uniform.heavy_tailed(scale.size)
            values = scale * (drifts[name] + 0.6 * uniform.heavy_tailed(scale.size))
            update[name] = values.astype(np.float32).reshape(shapes[name])
        updates.append(update)
    return updates


def make_sparse_levels(model: str, n_rounds: int, *, density: float, seed: int = 1) -> list[Levels]:
    """Return levels that are zero but for a few at places without any pattern.

    Each weight is non-zero with probability `density`, anew in every round; three in four of these
    are 1 or -1, the others 2 or -2.
    """
    uniform = Uniform(seed)
    rounds = []
    for _ in range(n_rounds):
        update = {}
        for name, shape in MODELS[model].items():
            n = int(np.prod(shape))
            levels = 1 + (uniform.draw(n) < 0.25).astype(np.int32)
            levels[uniform.draw(n) < 0.5] *= -1
            levels[uniform.draw(n) >= density] = 0
            update[name] = levels.reshape(shape)
        rounds.append(update)
    return rounds


def scale_levels(rounds: list[Levels], step: float) -> list[Update]:
    """Return the updates that the uniform quantiser with this step turns into these levels."""
    return [
        {name: levels.astype(np.float32) * np.float32(step) for name, levels in update.items()}
        for update in rounds
    ]


def make_zero_stream(model: str, n_rounds: int) -> list[Update]:
    """Return updates in which no weight moves."""
    update = {name: np.zeros(shape, np.float32) for name, shape in MODELS[model].items()}
    return [update] * n_rounds


def _scales(shape: tuple[int, ...], uniform: Uniform) -> NDArray[np.float64]:
    """Return the scale of each weight: one factor a tensor, one a row, one a column."""
    n_rows, n_columns = shape[0], int(np.prod(shape[1:]))
    tensor = SCALE * (0.5 + uniform.draw(1))
    rows = 0.4 + uniform.draw(n_rows)
    columns = 0.3 + uniform.draw(n_columns)
    columns[uniform.draw(n_columns) < 0.4] = 0.1
    return (tensor * rows[:, None] * columns[None, :]).reshape(-1)
