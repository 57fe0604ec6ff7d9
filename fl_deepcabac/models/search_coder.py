# SPDX-License-Identifier: Apache-2.0
"""A model coded at any point of a search: a coarseness, which gives the steps, and a price.

At a price of zero levels are the nearest ones, without a trellis: what a plain quantiser chooses,
coded by the same coder.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.allocation import MAX_STEP, MIN_STEP, GivenSteps
from fl_deepcabac.arrays import (
    check_finite,
    check_update,
    flatten_importance,
    flatten_values,
    level_slices,
)
from fl_deepcabac.config import CodecConfig
from fl_deepcabac.errors import ConfigError
from fl_deepcabac.models.compressed import CompressedModel, encode_model
from fl_deepcabac.models.search_log import name_arrays
from fl_deepcabac.models.search_trials import Arrays
from fl_deepcabac.models.steps import coarseness_steps, is_vector, model_steps
from fl_deepcabac.schema import Schema

__all__ = ["FIRST_PRICES", "Method", "SearchCoder", "ladder_of"]

Method = Literal["dc-v1", "dc-v2"]
Weights = Mapping[str, NDArray[np.generic]]

# Rungs of the ladder of steps a doubling; and how far it reaches, in doublings, from the root mean
# square of all matrices.
RUNGS_PER_DOUBLING: Final = 8
FINEST_DOUBLINGS, COARSEST_DOUBLINGS = -8, 3
# S of DC-v1, from fine to coarse.
COARSENESSES: Final = tuple(
    sorted({round(2 ** (i / 2)) for i in range(17)} | {0, 5, 7, 10, 14, 20}, reverse=True)
)
# Prices of a bit to begin with.
FIRST_PRICES: Final[Mapping[str, tuple[float, ...]]] = {
    "dc-v1": (0.0, 0.0005, 0.005, 0.05, 0.5),
    "dc-v2": (0.0, 0.03, 0.12, 0.48),
}


def ladder_of(values: NDArray[np.float32], schema: Schema) -> tuple[float, ...]:
    """Return the steps of a search, from fine to coarse.

    Parameters
    ----------
    values : ndarray, float32, shape (n,)
        All level-coded tensors end to end.
    schema : Schema

    Returns
    -------
    tuple of float
        About the root mean square of all matrices.
    """
    matrices = [values[place] for spec, place in level_slices(schema) if not is_vector(spec)]
    matrices = matrices or [values]
    squares = sum(float(np.sum(np.square(own, dtype=np.float64))) for own in matrices)
    scale = math.sqrt(squares / max(1, sum(own.size for own in matrices))) or 1.0
    n_rungs = (COARSEST_DOUBLINGS - FINEST_DOUBLINGS) * RUNGS_PER_DOUBLING + 1
    steps = (scale * 2 ** (FINEST_DOUBLINGS + i / RUNGS_PER_DOUBLING) for i in range(n_rungs))
    # Equal ones at the bounds of the format are one rung.
    return tuple(dict.fromkeys(min(max(step, MIN_STEP), MAX_STEP) for step in steps))


@dataclass(frozen=True)
class SearchCoder:
    """Codes a model at any point, as one method has it.

    Parameters
    ----------
    rungs : tuple of float
        Coarsenesses, from fine to coarse: steps, or values of S.
    """

    weights: Weights
    schema: Schema
    config: CodecConfig
    method: Method
    importance: Weights
    vector_step: float
    rungs: tuple[float, ...]

    @classmethod
    def of(
        cls,
        weights: Weights,
        schema: Schema,
        config: CodecConfig,
        method: Method,
        importance: Weights,
        vector_step: float,
    ) -> SearchCoder:
        """Check what does not change from point to point, and lay out the ladder."""
        if method not in FIRST_PRICES:
            raise ConfigError("method", expected="dc-v1 or dc-v2", found=method)
        if config.quantizer != "rdoq":
            raise ConfigError("quantizer", expected="rdoq for a search", found=config.quantizer)
        values = flatten_values(weights, schema)
        check_finite(check_update(weights, schema), values, schema)
        steps = ladder_of(values, schema)
        rungs = tuple(map(float, COARSENESSES)) if method == "dc-v1" else steps
        coder = cls(weights, schema, config, method, importance, vector_step, rungs)
        # What is wrong with other arguments is wrong at every point.
        flatten_importance(importance, schema)
        coder.given(rungs[0], FIRST_PRICES[method][0])
        return coder

    def name(self) -> str:
        """Name everything that decides what a point is."""
        settings = replace(self.config, threads=1).to_json()
        named = name_arrays(self.weights, self.importance)
        return json.dumps([self.method, named, settings, self.vector_step])

    def given(self, coarseness: float, price: float) -> tuple[GivenSteps, CodecConfig]:
        """Return the steps and prices of a point, and the settings that come nearest to them."""
        base = self.config
        if price == 0:
            base = replace(base, quantizer="uniform", trellis=None)
        if self.method == "dc-v1":
            given = coarseness_steps(
                self.weights,
                self.schema,
                coarseness=coarseness,
                price=price,
                importance=self.importance,
                vector_step=self.vector_step,
                step_overrides=self.config.step_overrides,
            )
            return (given, base) if price else (GivenSteps(given.steps), base)
        config = replace(
            base,
            step=coarseness,
            relative_step=None,
            target_bytes=None,
            target_bits_per_weight=None,
            rd_lambda=price,
        )
        return model_steps(self.weights, self.schema, config, vector_step=self.vector_step), config

    def code(self, coarseness: float, price: float) -> tuple[CompressedModel, Arrays]:
        """Return the model at a point, and what it decodes to."""
        given, config = self.given(coarseness, price)
        # The nearest level is the nearest, whatever its error counts.
        importance = self.importance or None if price else None
        encoded = encode_model(
            self.weights, self.schema, config, importance=importance, given=given
        )
        model = CompressedModel(encoded.packet, self.schema, config, encoded.report)
        return model, encoded.decoded
