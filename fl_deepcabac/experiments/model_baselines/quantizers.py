# SPDX-License-Identifier: Apache-2.0
"""The paper's other quantisers, coded by `coders`, for the same search as DeepCABAC's.

Vectors have the steps that they have there. Every byte counts: codes, tables, steps and points;
names and shapes as in a container.

References
----------
.. [1] S. P. Lloyd, "Least Squares Quantization in PCM", IEEE Trans. Inf. Theory 28(2), 1982.
.. [2] P. A. Chou, T. Lookabaugh and R. M. Gray, "Entropy-Constrained Vector Quantization", IEEE
   Trans. Acoust. Speech Signal Process. 37(1), 1989: with a price of bits, by their probabilities.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import zstandard
from numpy.typing import NDArray

from fl_deepcabac.arrays import (
    flatten_importance,
    flatten_values,
    join_exact,
    level_slices,
    unflatten_values,
)
from fl_deepcabac.config import CodecConfig
from fl_deepcabac.container import container_bytes
from fl_deepcabac.experiments.model_baselines.coders import encode, entropy_bits
from fl_deepcabac.models.search_coder import ladder_of
from fl_deepcabac.models.search_log import name_arrays
from fl_deepcabac.models.steps import VECTOR_STEP, is_vector, model_steps
from fl_deepcabac.schema import Schema

__all__ = ["BaselineCoder", "CodedBaseline", "lloyd_points"]

Weights = Mapping[str, NDArray[np.generic]]
Quantizer = Literal["uniform", "lloyd"]
_FLOAT_BYTES: Final = 4
_ITERATIONS: Final = 30
# Points on each side of the nearest that may be cheaper.
_NEIGHBOURS: Final = 6


@dataclass(frozen=True)
class CodedBaseline:
    """What a model takes.

    Parameters
    ----------
    n_bytes : int
        Of all that a decoder needs.
    n_entropy_bytes : float
        Of the zero-order entropy of each tensor's symbols, instead of their code; tables, steps and
        points counted as they are.
    """

    n_bytes: int
    n_entropy_bytes: float


@dataclass(frozen=True)
class BaselineCoder:
    """Codes a model at any step, as a quantiser of the paper's comparison.

    Parameters
    ----------
    weights : mapping of str to ndarray
    quantizer : {"uniform", "lloyd"}
        Nearest of the multiples of a step, or, from as many points, Lloyd's [1]_, weighted and
        with a price of bits [2]_ in squared steps.
    importance : mapping of str to ndarray, optional
        What squared errors count, for Lloyd's.
    """

    weights: Weights
    quantizer: Quantizer
    importance: Weights | None = None

    @property
    def schema(self) -> Schema:
        """Of the weights."""
        return Schema.from_arrays(self.weights)

    @property
    def rungs(self) -> tuple[float, ...]:
        """Steps from fine to coarse, those of DC-v2."""
        return ladder_of(flatten_values(self.weights, self.schema), self.schema)

    def name(self) -> str:
        """Name what decides what a point is."""
        return json.dumps([self.quantizer, name_arrays(self.weights, self.importance or {})])

    def code(
        self, coarseness: float, price: float
    ) -> tuple[CodedBaseline, dict[str, NDArray[np.generic]]]:
        """Return what the model takes at a step and a price, and what it decodes to."""
        schema = self.schema
        values = flatten_values(self.weights, schema)
        factors = flatten_importance(self.importance or {}, schema)
        given = model_steps(
            self.weights, schema, CodecConfig(step=coarseness), vector_step=VECTOR_STEP
        )
        n_bytes, n_entropy_bytes = 0, 0.0
        decoded: dict[str, NDArray[np.generic]] = {
            spec.name: np.array(self.weights[spec.name]) for spec in schema.exact_tensors
        }
        others = _other_bytes(self.weights, schema)
        # All matrices of a uniform quantiser share one step.
        n_bytes += _FLOAT_BYTES * (self.quantizer == "uniform")
        for spec, place in level_slices(schema):
            own, step = values[place], given.steps[spec.name]
            if self.quantizer == "uniform" or is_vector(spec):
                symbols = np.rint(own / np.float64(step)).astype(np.int64)
                points, chosen = np.array([step]), symbols * step
            else:
                points, symbols = lloyd_points(own, factors[place], step=step, price=price)
                chosen = points[symbols]
                # What is nearest to zero is zero for the coders, which CSR leaves out.
                symbols = symbols - int(np.abs(points).argmin())
            shares_step = self.quantizer == "uniform" and not is_vector(spec)
            n_points = 0 if shares_step else _FLOAT_BYTES * points.size
            n_bytes += len(encode(symbols, spec.matrix_shape)) + n_points
            n_entropy_bytes += entropy_bits(symbols) / 8 + n_points
            decoded[spec.name] = unflatten_values(chosen.astype(np.float32), spec)
        coded_model = CodedBaseline(n_bytes + others, n_entropy_bytes + others)
        return coded_model, {spec.name: decoded[spec.name] for spec in schema.tensors}


def _other_bytes(weights: Weights, schema: Schema) -> int:
    """Return what names, shapes and exact tensors take."""
    exact = join_exact(weights, schema)
    n_exact = min(len(exact), len(zstandard.ZstdCompressor(level=19).compress(exact)))
    return len(container_bytes(b"", schema, CodecConfig(profile="max"))) + n_exact


def lloyd_points(
    values: NDArray[np.float32], importance: NDArray[np.float32], *, step: float, price: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Find points with little error + price x bits, bits by the points' own frequencies.

    Parameters
    ----------
    values : ndarray, float32, shape (n,)
    importance : ndarray, float32, shape (n,)
        What squared errors count.
    step : float
        Points to begin with are its multiples, as far as values reach.
    price : float
        Of a bit, in squared steps.

    Returns
    -------
    tuple of (ndarray, float64, shape (k,); ndarray, int64, shape (n,))
        Points, ascending, each of them used, and the index of each value's own.
    """
    wide, weights = values.astype(np.float64), importance.astype(np.float64)
    reach = int(np.ceil(np.abs(wide).max(initial=0.0) / step))
    points = step * np.arange(-reach, reach + 1, dtype=np.float64)
    bits = np.zeros(points.size)
    indices = np.full(wide.size, -1, np.int64)
    for _ in range(_ITERATIONS):
        chosen = _cheapest(wide, weights, points, price * step**2 * bits)
        counts = np.bincount(chosen, minlength=points.size)
        is_used = counts > 0
        mass = np.bincount(chosen, weights, points.size)
        moment = np.bincount(chosen, weights * wide, points.size)
        means = np.divide(moment, mass, out=points.copy(), where=mass > 0)[is_used]
        bits = -np.log2(counts[is_used] / wide.size)
        renumbered = (np.cumsum(is_used) - 1)[chosen]
        order = np.argsort(means, kind="stable")
        rank = np.argsort(order, kind="stable")
        points, bits, renumbered = means[order], bits[order], rank[renumbered]
        if np.array_equal(renumbered, indices):
            break
        indices = renumbered
    return points, indices


def _cheapest(
    values: NDArray[np.float64],
    weights: NDArray[np.float64],
    points: NDArray[np.float64],
    costs: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Return the point of least weight x squared error + cost for each value."""
    last = points.size - 1
    nearest = np.searchsorted((points[1:] + points[:-1]) / 2, values)
    # Besides its neighbours only the point of the fewest bits can be worth a larger error.
    candidates = [nearest + i for i in range(-_NEIGHBOURS, _NEIGHBOURS + 1)]
    candidates.append(np.full(values.size, int(costs.argmin())))
    best = np.full(values.size, np.inf)
    chosen = np.zeros(values.size, np.int64)
    for candidate in candidates:
        place = np.clip(candidate, 0, last)
        total = weights * np.square(values - points[place]) + costs[place]
        is_less = total < best
        best[is_less], chosen[is_less] = total[is_less], place[is_less]
    return chosen
