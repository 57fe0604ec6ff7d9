# SPDX-License-Identifier: Apache-2.0
"""SZ3, the error-bounded compressor of scientific data behind FedSZ, by way of the package pysz.

References
----------
.. [1] X. Liang et al., "SZ3: A Modular Framework for Composing Prediction-Based Error-Bounded Lossy
   Compressors", IEEE Trans. Big Data 9(2), 2023.
.. [2] G. Wilkins et al., "FedSZ: Leveraging Error-Bounded Lossy Compression for Federated Learning
   Communications", ICDCS 2024.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.errors import CorruptPacketError
from fl_deepcabac.experiments.baselines.checks import require_name, require_number
from fl_deepcabac.experiments.baselines.method import Carried, FloatMethod, tensor_slices
from fl_deepcabac.experiments.baselines.payload import PayloadReader, seal, write_floats
from fl_deepcabac.experiments.settings import SettingsError
from fl_deepcabac.schema import Schema

__all__ = ["Sz3"]

_LARGEST: Final = float(np.finfo(np.float32).max)
_PREDICTORS: Final = {
    "none": "NOPRED",
    "lorenzo": "LORENZO_REG",
    "interpolation": "INTERP_LORENZO",
}


@dataclass(frozen=True, kw_only=True)
class Sz3(FloatMethod):
    """No value is off by more than a bound, which is relative to its tensor [1]_.

    A bound a tensor, a checksum, and one stream of SZ3 over all tensors, each divided by its bound.
    FedSZ has a stream a tensor, whose some 70 bytes of header are more than small tensors need.

    Parameters
    ----------
    bound : float
        In units of `relative_to`, in [1e-6, 100].
    relative_to : {"range", "rms"}
        Of a tensor: largest minus least value, as FedSZ has it [2]_, or root mean square.
    predictor : {"none", "lorenzo", "interpolation"}
        What SZ3 predicts values from. Weights have no neighbours that tell anything, so that
        without a predictor fewer bits are needed; the others are those of FedSZ and of SZ3.

    Raises
    ------
    SettingsError
        If a setting is out of range, or pysz is not installed.
    """

    name: ClassVar[str] = "sz3"
    bound: float = 0.01
    relative_to: str = "range"
    predictor: str = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number(self, "bound", 1e-6, 100.0)
        require_name(self, "relative_to", ("range", "rms"))
        require_name(self, "predictor", tuple(_PREDICTORS))
        _load()

    def pack(self, carried: Carried) -> bytes:
        """Return bounds and SZ3's stream."""
        bounds, scaled = [np.zeros(0, np.float32)], np.zeros_like(carried.values)
        for _, place in tensor_slices(carried.schema):
            own = carried.values[place].astype(np.float64)
            bound = np.float32(min(self.bound * self._size(own), _LARGEST))
            bounds.append(np.array([bound]))
            if bound > 0:
                scaled[place] = own / np.float64(bound)
        stream = _compress(scaled, _PREDICTORS[self.predictor]) if scaled.size else b""
        return write_floats(np.concatenate(bounds)) + seal(stream)

    def unpack(self, reader: PayloadReader, schema: Schema) -> NDArray[np.float64]:
        """Return the vector."""
        places = [place for _, place in tensor_slices(schema)]
        bounds = reader.floats(len(places), "bounds").astype(np.float64)
        stream = reader.sealed("stream of SZ3")
        values = np.zeros(places[-1].stop if places else 0)
        if places:
            values[:] = _decompress(stream, values.size)
        for place, bound in zip(places, bounds, strict=True):
            values[place] *= bound
        return values

    def _size(self, own: NDArray[np.float64]) -> float:
        """Return what the bound is relative to; for a tensor of equal values, their size."""
        largest = float(np.abs(own).max())
        if self.relative_to == "rms":
            return largest and largest * float(np.sqrt(np.mean(np.square(own / largest))))
        return float(own.max() - own.min()) or largest


def _load() -> ModuleType:
    """Return pysz, which few need: it is not among the requirements of the package."""
    try:
        import pysz  # noqa: PLC0415 (optional)
    except ImportError:
        raise SettingsError(
            "name", expected="the package pysz for sz3, from pip install pysz", found="none"
        ) from None
    return pysz  # type: ignore[no-any-return]


def _compress(values: NDArray[np.float32], algorithm: str) -> bytes:
    """Return values with an error of at most 1."""
    pysz = _load()
    config = pysz.szConfig()
    config.errorBoundMode = pysz.szErrorBoundMode.ABS
    config.absErrorBound = 1.0
    config.cmprAlgo = getattr(pysz.szAlgorithm, algorithm)
    stream, _ = pysz.sz.compress(values, config)
    return bytes(stream)


def _decompress(stream: bytes, n: int) -> NDArray[np.float32]:
    """Return `n` finite values."""
    what = "stream of SZ3"
    try:
        values, _ = _load().sz.decompress(np.frombuffer(stream, np.uint8), np.float32, (n,))
    except (ValueError, RuntimeError) as error:
        raise CorruptPacketError(what, 0, expected=f"{n} values", found=str(error)) from None
    if not np.isfinite(values).all():
        raise CorruptPacketError(what, 0, expected="finite numbers", found="others")
    return np.asarray(values, np.float32)
