# SPDX-License-Identifier: Apache-2.0
"""NNCodec for whole models, searched as DeepCABAC is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.config import CodecConfig
from fl_deepcabac.container import container_bytes
from fl_deepcabac.experiments.baselines.nncodec import NnCodec, step_of
from fl_deepcabac.experiments.model_baselines.quantizers import CodedBaseline
from fl_deepcabac.models.search_log import name_arrays
from fl_deepcabac.schema import Schema

__all__ = ["NnCodecCoder"]

# Quantisation parameters of matrices, from fine to coarse: four more double the step.
_QPS: Final = tuple(range(-52, -7))


@dataclass(frozen=True)
class NnCodecCoder:
    """Codes a model with NNCodec at any step; the price is its `lambda_scale`.

    Parameters
    ----------
    weights : mapping of str to ndarray
    nonweight_qp : int
        Quantisation parameter of tensors of one dimension.

    Notes
    -----
    Names and shapes count as in a container of ours: tensors are numbered for NNCodec.
    """

    weights: Mapping[str, NDArray[np.generic]]
    nonweight_qp: int

    @property
    def rungs(self) -> tuple[float, ...]:
        """Steps from fine to coarse."""
        return tuple(map(step_of, _QPS))

    def name(self) -> str:
        """Name what decides what a point is."""
        return json.dumps(["nncodec 2.1.3", self.nonweight_qp, name_arrays(self.weights)])

    def code(self, coarseness: float, price: float) -> tuple[CodedBaseline, dict[str, Any]]:
        """Return what the model takes at a step and a price, and what it decodes to."""
        qp = _QPS[self.rungs.index(coarseness)]
        codec = NnCodec(
            qp=qp,
            nonweight_qp=self.nonweight_qp,
            lambda_scale=price,
            tca=False,
            error_feedback=False,
        )
        schema = Schema.from_arrays(self.weights)
        rng = np.random.default_rng(0)
        payload, _ = codec.encode(dict(self.weights), schema, {}, rng)
        decoded, _ = codec.decode(payload, schema, {})
        head = len(container_bytes(b"", schema, CodecConfig(profile="max")))
        return CodedBaseline(head + len(payload), float("nan")), decoded
