# SPDX-License-Identifier: Apache-2.0
"""Uniform quantisation to n bits, tensor by tensor, as for 8-bit inference and 8-bit messages.

References
----------
.. [1] B. Jacob et al., "Quantization and Training of Neural Networks for Efficient
   Integer-Arithmetic-Only Inference", CVPR 2018: the affine form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.experiments.baselines.bits import BitReader, BitWriter
from fl_deepcabac.experiments.baselines.checks import require_integer, require_name
from fl_deepcabac.experiments.baselines.method import Carried, FloatMethod, tensor_slices
from fl_deepcabac.experiments.baselines.payload import (
    MAX_ZSTD_LEVEL,
    PayloadReader,
    cheapest,
    squeeze,
    unsqueeze,
    write_floats,
)
from fl_deepcabac.schema import Schema

__all__ = ["Uniform"]


@dataclass(frozen=True, kw_only=True)
class Uniform(FloatMethod):
    """As many equal steps as n bits can count, over the range of each tensor.

    Two floats a tensor, then the indices: n bits each, or bytes behind zstandard if that is less.

    Parameters
    ----------
    bits : int
        Of an index, in [1, 16].
    span : {"minmax", "maxabs"}
        From the least to the largest value, or as far below zero as above it, with a step at zero
        (then of at least 2 bits).
    level : int
        Of zstandard, in [1, 19].

    Notes
    -----
    The error is at most half a step, which is span / (2**bits - 1); "maxabs" leaves one index out.
    """

    name: ClassVar[str] = "uniform"
    bits: int = 8
    span: str = "minmax"
    level: int = 9

    def __post_init__(self) -> None:
        super().__post_init__()
        require_name(self, "span", ("minmax", "maxabs"))
        require_integer(self, "bits", 2 if self.span == "maxabs" else 1, 16)
        require_integer(self, "level", 1, MAX_ZSTD_LEVEL)

    @property
    def _n_steps(self) -> int:
        """Number of steps between the ends; even for "maxabs", so that zero is one of them."""
        return (1 << self.bits) - (2 if self.span == "maxabs" else 1)

    def pack(self, carried: Carried) -> bytes:
        """Return ends and indices."""
        ends = np.zeros((0, 2), np.float32)
        indices = np.zeros(carried.values.size, np.uint16)
        for _, place in tensor_slices(carried.schema):
            own = carried.values[place].astype(np.float64)
            low, high = own.min(), own.max()
            if self.span == "maxabs":
                high = max(-low, high)
                low = -high
            ends = np.vstack([ends, np.array([[low, high]], np.float32)])
            if high > low:
                exact = (own - low) * (self._n_steps / (high - low))
                indices[place] = np.clip(np.rint(exact), 0, self._n_steps)
        plain = BitWriter()
        plain.fields(indices, self.bits)
        raw = indices.astype(self._stored_dtype).tobytes()
        return write_floats(ends) + cheapest(plain.to_bytes(), squeeze(raw, self.level))

    def unpack(self, reader: PayloadReader, schema: Schema) -> NDArray[np.float64]:
        """Return the vector."""
        places = [place for _, place in tensor_slices(schema)]
        n = places[-1].stop if places else 0
        ends = reader.floats(2 * len(places), "ends of ranges").astype(np.float64).reshape(-1, 2)
        if reader.flag(2, "form of the indices") == 0:
            bits = BitReader(reader.rest(), "indices")
            indices = bits.fields(n, self.bits)
            bits.finish()
        else:
            n_bytes = n * np.dtype(self._stored_dtype).itemsize
            content = PayloadReader(unsqueeze(reader.rest(), at_most=n_bytes, what="indices"))
            stored = np.frombuffer(content.take(n_bytes, "indices"), self._stored_dtype)
            indices = np.minimum(stored.astype(np.int64), self._n_steps)
        values = np.empty(n)
        for place, (low, high) in zip(places, ends, strict=True):
            share = indices[place] / self._n_steps
            # Not low + share * span: the middle of "maxabs" must be zero, and the end the end.
            values[place] = low * (1 - share) + high * share
        return values

    @property
    def _stored_dtype(self) -> str:
        return "<u1" if self.bits <= 8 else "<u2"  # noqa: PLR2004 - bits of a byte
