# SPDX-License-Identifier: Apache-2.0
"""What one packet cost, as frozen data.

Bytes of tensors are shares of the packet's sections: all tensors are coded into one payload, so
their boundaries fall within bytes and are rounded such that the shares add up to the packet.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.schema import Schema

__all__ = [
    "TensorReport",
    "UpdateReport",
    "level_errors",
    "report_exact",
    "report_levels",
    "root_mean_square_error",
    "share_bytes",
]


@dataclass(frozen=True, slots=True)
class TensorReport:
    """What one tensor cost.

    Parameters
    ----------
    name : str
    n_elements : int
    n_bytes : int
        Share of the packet, without the header.
    n_nonzero : int
        Levels (or exact elements) that are not zero.
    rmse : float or None
        Root of the mean squared error, in the units of the update; 0 for exact tensors, None on the
        decoder's side.
    step : float or None
        Quantiser width, in the units of the update; None for exact tensors and tensors of zeros.
    """

    name: str
    n_elements: int
    n_bytes: int
    n_nonzero: int
    rmse: float | None
    step: float | None

    @property
    def bits_per_weight(self) -> float:
        """Bits of the packet per element of this tensor."""
        return 8 * self.n_bytes / self.n_elements if self.n_elements else 0.0


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """What one update cost.

    Parameters
    ----------
    tensors : tuple of TensorReport
        In schema order.
    packet_bytes, header_bytes, raw_bytes : int
        The packet, its fixed part, and the update uncompressed.
    """

    tensors: tuple[TensorReport, ...]
    packet_bytes: int
    header_bytes: int
    raw_bytes: int

    @property
    def n_elements(self) -> int:
        """Elements of all tensors."""
        return sum(tensor.n_elements for tensor in self.tensors)

    @property
    def n_nonzero(self) -> int:
        """Levels and exact elements that are not zero."""
        return sum(tensor.n_nonzero for tensor in self.tensors)

    @property
    def bits_per_weight(self) -> float:
        """Bits of the packet, every byte counted, per element."""
        return 8 * self.packet_bytes / self.n_elements if self.n_elements else 0.0

    @property
    def ratio(self) -> float:
        """Uncompressed bytes over packet bytes."""
        return self.raw_bytes / self.packet_bytes

    @property
    def rmse(self) -> float | None:
        """Root of the mean squared error over all elements; None on the decoder's side."""
        total = 0.0
        for tensor in self.tensors:
            if tensor.rmse is None:
                return None
            total += tensor.rmse**2 * tensor.n_elements
        return math.sqrt(total / self.n_elements) if self.n_elements else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return everything, the totals included, as plain data for JSON."""
        return {
            "packet_bytes": self.packet_bytes,
            "header_bytes": self.header_bytes,
            "raw_bytes": self.raw_bytes,
            "bits_per_weight": self.bits_per_weight,
            "n_nonzero": self.n_nonzero,
            "rmse": self.rmse,
            "ratio": self.ratio,
            "tensors": [
                {**asdict(tensor), "bits_per_weight": tensor.bits_per_weight}
                for tensor in self.tensors
            ],
        }


def share_bytes(n_bytes: int, costs: Sequence[float]) -> list[int]:
    """Divide a section's bytes in proportion to costs, in whole bytes that add up.

    Bins can cost less than a cost's unit and still need a byte: that byte is the last tensor's.
    """
    if not costs:
        return []
    total = float(sum(costs))
    scale = n_bytes / total if total > 0 else 0.0
    ends = np.rint(np.cumsum(np.asarray(costs, np.float64)) * scale).astype(np.int64)
    ends[-1] = n_bytes
    return [int(share) for share in np.diff(ends, prepend=0)]


def report_exact(
    schema: Schema, *, n_bytes: int, arrays: Mapping[str, NDArray[np.generic]]
) -> dict[str, TensorReport]:
    """Report the exact tensors, which share their section's bytes by raw size."""
    shares = share_bytes(n_bytes, [spec.raw_bytes for spec in schema.exact_tensors])
    return {
        spec.name: TensorReport(
            name=spec.name,
            n_elements=spec.n_elements,
            n_bytes=share,
            n_nonzero=int(np.count_nonzero(arrays[spec.name])),
            rmse=0.0,
            step=None,
        )
        for spec, share in zip(schema.exact_tensors, shares, strict=True)
    }


def report_levels(
    schema: Schema,
    *,
    n_bytes: int,
    n_nonzeros: NDArray[np.uint64],
    steps: NDArray[np.float32],
    costs: NDArray[np.uint64],
    errors: Mapping[str, float],
) -> dict[str, TensorReport]:
    """Report the level-coded tensors, which share the payload's bytes by information.

    Parameters
    ----------
    schema : Schema
    n_bytes : int
        Of the payload.
    n_nonzeros : ndarray, uint64, shape (n_tensors,)
        Levels of each tensor that are not zero.
    steps : ndarray, float32, shape (n_tensors,)
    costs : ndarray, uint64, shape (n_tensors,)
        Information in each tensor's bins, in any unit.
    errors : mapping of str to float
        RMSE by tensor; empty on the decoder's side.
    """
    shares = share_bytes(n_bytes, costs.tolist())
    rows = zip(schema.level_tensors, n_nonzeros.tolist(), steps.tolist(), shares, strict=True)
    return {
        spec.name: TensorReport(
            name=spec.name,
            n_elements=spec.n_elements,
            n_bytes=share,
            n_nonzero=n_nonzero,
            rmse=errors.get(spec.name),
            step=step or None,
        )
        for spec, n_nonzero, step, share in rows
    }


def level_errors(
    schema: Schema,
    original: Mapping[str, NDArray[np.generic]],
    decoded: Mapping[str, NDArray[np.generic]],
    *,
    squared_errors: NDArray[np.float64] | None,
) -> dict[str, float]:
    """Return the RMSE of each level-coded tensor.

    Parameters
    ----------
    schema : Schema
    original, decoded : mapping of str to ndarray
        The tensors of the schema.
    squared_errors : ndarray, float64, shape (n_tensors,), optional
        What the core found, in float32: good for tensors of that dtype, while others are rounded
        once more. None where it has not seen the values.
    """
    errors = {}
    for number, spec in enumerate(schema.level_tensors):
        if squared_errors is not None and spec.dtype == "float32":
            errors[spec.name] = math.sqrt(squared_errors[number] / max(1, spec.n_elements))
        else:
            errors[spec.name] = root_mean_square_error(original[spec.name], decoded[spec.name])
    return errors


def root_mean_square_error(original: NDArray[np.generic], decoded: NDArray[np.generic]) -> float:
    """Return the root of the mean squared difference, computed in float64; 0 for empty arrays."""
    if original.size == 0:
        return 0.0
    difference = original.astype(np.float64) - decoded.astype(np.float64)
    return float(np.sqrt(np.mean(difference * difference)))
