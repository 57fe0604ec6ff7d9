# SPDX-License-Identifier: Apache-2.0
"""Signs only, with error feedback.

References
----------
.. [1] S. P. Karimireddy et al., "Error Feedback Fixes SignSGD and Other Gradient Compression
   Schemes", ICML 2019: the scaled sign, mean size times sign.
.. [2] J. Bernstein et al., "signSGD: Compressed Optimisation for Non-Convex Problems", ICML 2018.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.experiments.baselines.bits import BitReader
from fl_deepcabac.experiments.baselines.method import Carried, FloatMethod, tensor_slices
from fl_deepcabac.experiments.baselines.payload import (
    PayloadReader,
    cheapest,
    squeeze,
    unsqueeze,
    write_floats,
)
from fl_deepcabac.schema import Schema

__all__ = ["ScaledSign"]


@dataclass(frozen=True, kw_only=True)
class ScaledSign(FloatMethod):
    """The mean size of each tensor and the sign of each value [1]_; zero counts as positive.

    One bit a value, behind zstandard if that is less.
    """

    name: ClassVar[str] = "signsgd"
    error_feedback: bool = True

    def pack(self, carried: Carried) -> bytes:
        """Return means and signs."""
        size = np.abs(carried.values.astype(np.float64))
        means = [size[place].mean() for _, place in tensor_slices(carried.schema)]
        signs = np.packbits(carried.values < 0).tobytes()
        return write_floats(np.array(means, np.float64)) + cheapest(signs, squeeze(signs))

    def unpack(self, reader: PayloadReader, schema: Schema) -> NDArray[np.float32]:
        """Return the vector."""
        places = [place for _, place in tensor_slices(schema)]
        n = places[-1].stop if places else 0
        means = reader.floats(len(places), "means")
        n_bytes = -(-n // 8)
        if reader.flag(2, "form of the signs") == 0:
            packed = reader.take(n_bytes, "signs")
        else:
            packed = unsqueeze(reader.rest(), at_most=n_bytes, what="signs")
        bits = BitReader(packed, "signs")
        values = 1 - 2 * bits.flags(n).astype(np.float32)
        bits.finish()
        for place, mean in zip(places, means, strict=True):
            values[place] *= mean
        return values
