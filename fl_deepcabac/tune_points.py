# SPDX-License-Identifier: Apache-2.0
"""Recorded updates, coded as a run would code them, and what comes of one step.

Invariant: everything in a `TunePoint` was measured on packets that a decoder read back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.codec import EncodedUpdate
from fl_deepcabac.config import CodecConfig, Profile
from fl_deepcabac.feedback import Residual, carry_residual, find_residual
from fl_deepcabac.schema import Schema
from fl_deepcabac.update_stream import UpdateDecoder, UpdateEncoder

__all__ = ["TunePoint", "TuneStream", "take_part"]

Update = Mapping[str, NDArray[Any]]
Result = TypeVar("Result")

# The first packets, in which the state has little to go by yet, are not counted, if others are.
FIRST_COUNTED = 2
# Rows taken from so many places: layers that grow or learn unevenly are seen from end to end.
N_RUNS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class TunePoint:
    """What a stream costs with one step.

    Parameters
    ----------
    profile : {"fast", "max"}
    relative_step : float
    bits_per_weight, ratio : float
        Of the packets that count, every byte of them.
    relative_squared_error : float
        Sum of squares of what the packets leave out of the carried updates / that of the updates.
        With error feedback later packets bring it, and it may exceed 1.
    zero_share : float
        Part of the levels that are zero.
    encode_speed, decode_speed : float
        Weights a second of processor time, on one thread.
    """

    profile: Profile
    relative_step: float
    bits_per_weight: float
    ratio: float
    relative_squared_error: float
    zero_share: float
    encode_speed: float
    decode_speed: float


class TuneStream:
    """The updates of one client, in order.

    Parameters
    ----------
    updates : sequence of mapping of str to ndarray
        At least one, each with the tensors of the first.

    Attributes
    ----------
    schema : Schema
    n_updates : int
    n_counted : int
        Those that figures are of: the last ones.
    """

    def __init__(self, updates: Sequence[Update]) -> None:
        self.schema = Schema.from_arrays(updates[0])
        self.n_updates = len(updates)
        self.n_counted = len(updates) - min(FIRST_COUNTED, len(updates) - 1)
        self._updates = updates
        self._energy = sum(self._energy_of(update) for update in updates[-self.n_counted :])

    def _energy_of(self, update: Update) -> float:
        """Return the sum of squares of what is coded as levels."""
        return sum(
            float(np.sum(np.square(update[spec.name], dtype=np.float64)))
            for spec in self.schema.level_tensors
            if spec.name in update
        )

    def measure(self, config: CodecConfig) -> TunePoint:
        """Code the stream, and read it back.

        Parameters
        ----------
        config : CodecConfig
            With a relative step.

        Returns
        -------
        TunePoint

        Raises
        ------
        SchemaMismatchError, NonFiniteError, LevelRangeError
            As `encode_update`.
        """
        encoder, decoder = UpdateEncoder(self.schema, config), UpdateDecoder(self.schema, config)
        residual: Residual = {}
        encode_seconds = decode_seconds = 0.0
        coded: list[_Coded] = []
        for update in self._updates:
            seconds, encoded = _timed(partial(encoder.encode, update, residual=residual))
            encode_seconds += seconds
            seconds, _ = _timed(partial(decoder.decode, encoded.packet))
            decode_seconds += seconds
            coded.append(_Coded.of(encoded, self.schema))
            if config.error_feedback and len(coded) < self.n_updates:
                carried = carry_residual(update, residual, self.schema)
                residual = find_residual(carried, encoded.decoded, self.schema)
        counted = coded[-self.n_counted :]
        n_bytes = sum(row.n_bytes for row in counted)
        n_weights, n_levels = self.schema.n_elements, max(1, sum(row.n_levels for row in counted))
        n_coded = n_weights * self.n_updates
        return TunePoint(
            profile=config.profile,
            relative_step=float(config.relative_step or 0.0),
            bits_per_weight=8 * n_bytes / max(1, n_weights * self.n_counted),
            ratio=self.schema.raw_bytes * self.n_counted / n_bytes,
            relative_squared_error=sum(row.error for row in counted) / (self._energy or 1.0),
            zero_share=1 - sum(row.n_nonzero for row in counted) / n_levels,
            # A clock may not have moved while a tiny update was coded.
            encode_speed=n_coded / max(encode_seconds, 1e-9),
            decode_speed=n_coded / max(decode_seconds, 1e-9),
        )


@dataclass(frozen=True, slots=True)
class _Coded:
    """What counts of one packet; the update itself need not be kept."""

    n_bytes: int
    n_levels: int
    n_nonzero: int
    error: float

    @classmethod
    def of(cls, encoded: EncodedUpdate, schema: Schema) -> _Coded:
        """Leave the exact tensors out, of which nothing is lost."""
        rows = zip(schema.tensors, encoded.report.tensors, strict=True)
        tensors = [row for spec, row in rows if not spec.is_exact]
        return cls(
            n_bytes=len(encoded.packet),
            n_levels=sum(row.n_elements for row in tensors),
            n_nonzero=sum(row.n_nonzero for row in tensors),
            error=sum((row.rmse or 0.0) ** 2 * row.n_elements for row in tensors),
        )


def take_part(updates: Sequence[Update], n_weights: int) -> list[Update]:
    """Return a part of every tensor of updates, the same of each: runs of rows, evenly spaced.

    Parameters
    ----------
    updates : sequence of mapping of str to ndarray
    n_weights : int
        About so many elements are left of each update; all, if it has no more.

    Returns
    -------
    list of mapping of str to ndarray
        No tensor is left out.
    """
    share = n_weights / max(1, sum(np.size(array) for array in updates[0].values()))
    if share >= 1:
        return list(updates)
    return [
        {name: _rows(np.asarray(array), share) for name, array in update.items()}
        for update in updates
    ]


def _rows(array: NDArray[Any], share: float) -> NDArray[Any]:
    """Return a part of the rows; whole runs of them, for neighbours tell about each other."""
    if array.ndim == 0 or array.size == 0:
        return array
    n_rows = array.shape[0]
    n_kept = max(1, round(share * n_rows))
    n_runs = max(1, min(N_RUNS, n_kept // 4))
    begins = np.linspace(0, n_rows - n_kept // n_runs, n_runs).astype(int)
    places = np.unique(np.add.outer(begins, np.arange(n_kept // n_runs)))
    return np.ascontiguousarray(array[places])


def _timed(call: Callable[[], Result]) -> tuple[float, Result]:
    """Return seconds of processor time, and the result of a call."""
    begin = time.process_time()
    result = call()
    return time.process_time() - begin, result
