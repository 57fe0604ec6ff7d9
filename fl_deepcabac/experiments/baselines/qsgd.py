# SPDX-License-Identifier: Apache-2.0
"""QSGD: levels by chance, so that they are right on average, behind Elias codes.

References
----------
.. [1] D. Alistarh et al., "QSGD: Communication-Efficient SGD via Gradient Quantization and
   Encoding", NeurIPS 2017. Quantiser: section 3.1; buckets and the maximum norm: section 4; codes:
   appendix A, there Elias's recursive code, here gamma, which is as short for small numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.experiments.baselines.bits import BitReader, BitWriter
from fl_deepcabac.experiments.baselines.checks import require_integer, require_name
from fl_deepcabac.experiments.baselines.method import Carried, FloatMethod
from fl_deepcabac.experiments.baselines.payload import (
    MAX_ZSTD_LEVEL,
    PayloadReader,
    cheapest,
    squeeze,
    unsqueeze,
    write_count,
    write_floats,
)
from fl_deepcabac.schema import Schema

__all__ = ["Qsgd"]

_LARGEST: Final = float(np.finfo(np.float32).max)


@dataclass(frozen=True, kw_only=True)
class Qsgd(FloatMethod):
    """Every value becomes a neighbouring one of `levels` multiples of its bucket's norm / levels.

    Norms, then the levels in the shortest of three forms: each one in gamma code; only those that
    are not zero, with the distances between them; bytes behind zstandard.

    Parameters
    ----------
    levels : int
        Above zero, s of the paper; in [1, 32767].
    bucket : int
        Values that share a norm.
    norm : {"l2", "max"}
        "l2" is that of the paper's theorems; "max" has less variance and fewer zeros.
    level : int
        Of zstandard, in [1, 19].

    Notes
    -----
    Without bias. The variance of a bucket of d values is at most min(d / s**2, sqrt(d) / s) times
    its squared norm ("l2"; lemma 3.1).
    """

    name: ClassVar[str] = "qsgd"
    levels: int = 7
    bucket: int = 512
    norm: str = "l2"
    level: int = MAX_ZSTD_LEVEL

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integer(self, "levels", 1, 2**15 - 1)
        require_integer(self, "bucket", 1, 2**31 - 1)
        require_name(self, "norm", ("l2", "max"))
        require_integer(self, "level", 1, MAX_ZSTD_LEVEL)

    def pack(self, carried: Carried) -> bytes:
        """Return norms and levels."""
        norms = self._norms(carried.values)
        own_norm = self._spread_out(norms, carried.values.size)
        size = np.abs(carried.values.astype(np.float64))
        share = np.divide(size, own_norm, out=np.zeros_like(size), where=own_norm > 0)
        chance = carried.rng.random(size.size)
        levels = np.minimum(np.floor(self.levels * share + chance), self.levels).astype(np.int64)
        signed = np.where(np.signbit(carried.values), -levels, levels)
        forms = (
            _write_dense(signed),
            _write_sparse(signed),
            squeeze(self._stored(signed), self.level),
        )
        return write_floats(norms) + cheapest(*forms)

    def unpack(self, reader: PayloadReader, schema: Schema) -> NDArray[np.float64]:
        """Return the vector."""
        n = sum(spec.n_elements for spec in schema.level_tensors)
        norms = reader.floats(-(-n // self.bucket), "norms").astype(np.float64)
        form = reader.flag(3, "form of the levels")
        if form == 0:
            signed = _read_dense(reader, n)
        elif form == 1:
            signed = _read_sparse(reader, n)
        else:
            n_bytes = n * self._stored_dtype.itemsize
            content = PayloadReader(unsqueeze(reader.rest(), at_most=n_bytes, what="levels"))
            signed = np.frombuffer(content.take(n_bytes, "levels"), self._stored_dtype)
        if np.abs(signed.astype(np.int64)).max(initial=0) > self.levels:
            reader.refuse("levels", expected=f"at most {self.levels}", found="more")
        values: NDArray[np.float64] = self._spread_out(norms, n) * signed / self.levels
        return values

    def _norms(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the norm of each bucket, as the receiver will read it."""
        begins = np.arange(0, values.size, self.bucket)
        size = np.abs(values.astype(np.float64))
        if self.norm == "max":
            norms = np.maximum.reduceat(size, begins) if begins.size else size
        else:
            norms = np.sqrt(np.add.reduceat(np.square(size), begins)) if begins.size else size
        return np.minimum(norms, _LARGEST).astype(np.float32).astype(np.float64)

    def _spread_out(self, norms: NDArray[np.float64], n: int) -> NDArray[np.float64]:
        """Return the norm that each of `n` values has."""
        return norms[np.arange(n) // self.bucket]

    @property
    def _stored_dtype(self) -> np.dtype[Any]:
        return np.dtype("<i1" if self.levels < 2**7 else "<i2")

    def _stored(self, signed: NDArray[np.int64]) -> bytes:
        return signed.astype(self._stored_dtype).tobytes()


def _write_dense(signed: NDArray[np.int64]) -> bytes:
    """Write every level in gamma code, and the signs of those that have one."""
    bits = BitWriter()
    bits.gamma(np.abs(signed) + 1)
    bits.flags(signed[signed != 0] < 0)
    return bits.to_bytes()


def _read_dense(reader: PayloadReader, n: int) -> NDArray[np.int64]:
    bits = BitReader(reader.rest(), "levels")
    levels = bits.gamma(n) - 1
    has_sign = levels != 0
    levels[has_sign] *= 1 - 2 * bits.flags(int(has_sign.sum())).astype(np.int64)
    bits.finish()
    return levels


def _write_sparse(signed: NDArray[np.int64]) -> bytes:
    """Write how far apart the levels are that are not zero, their sizes, and their signs."""
    places = np.flatnonzero(signed)
    bits = BitWriter()
    bits.gamma(np.diff(places, prepend=-1))
    bits.gamma(np.abs(signed[places]))
    bits.flags(signed[places] < 0)
    return write_count(places.size) + bits.to_bytes()


def _read_sparse(reader: PayloadReader, n: int) -> NDArray[np.int64]:
    n_nonzero = reader.count(n, "number of levels")
    bits = BitReader(reader.rest(), "levels")
    places = np.cumsum(bits.gamma(n_nonzero)) - 1
    if places.max(initial=-1) >= n:
        reader.refuse("places of levels", expected=f"places below {n}", found="others")
    levels = bits.gamma(n_nonzero)
    signs = 1 - 2 * bits.flags(n_nonzero).astype(np.int64)
    bits.finish()
    signed = np.zeros(n, np.int64)
    signed[places] = levels * signs
    return signed
