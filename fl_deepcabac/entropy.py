# SPDX-License-Identifier: Apache-2.0
"""Levels to payload and back, against the adaptive state of a stream (spec 5 to 7).

The only module besides `quantize` that touches the native core. States are immutable values: coding
returns the state after the packet and leaves the one before as it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac import _native
from fl_deepcabac.config import Profile
from fl_deepcabac.errors import (
    CorruptPacketError,
    DecodeError,
    LevelCoderError,
    TruncatedPacketError,
)
from fl_deepcabac.schema import Schema

__all__ = [
    "CodedLevels",
    "LevelState",
    "decode_levels",
    "encode_levels",
    "encode_values",
]

PROFILE_CODES: dict[Profile, int] = {"fast": 0, "max": 1}

# Status codes of the core (status.hpp): section at fault, what was expected there, what was found.
PAYLOAD_FAULTS = {
    21: ("payload", "the end after the last level", "more bytes"),
    22: ("payload", "levels of at most 2**24", "a larger one"),
    23: ("payload", "a step in [2**-100, 2**100]", "one outside"),
    24: ("payload", "the shortest ending", "another"),
    25: ("payload", "offsets in [-127, 127]", "one outside"),
    26: ("payload", "the length of a codeword in its shortest form", "another"),
    27: ("payload", "a number within the first interval", "eight bytes ff"),
    31: ("saved state", "the end after the history", "more bytes"),
    32: ("saved state", "version 1 of the level state", "another"),
    33: ("saved state", "the tensors and the profile of this stream", "others"),
    34: ("saved state", "values within their ranges", "one outside"),
}
TRUNCATIONS = {20: "payload", 30: "saved state"}


@dataclass(frozen=True, slots=True)
class LevelState:
    """Contexts, steps and history of a stream, as an immutable value.

    Parameters
    ----------
    handle : _native.StreamState
        Never changed after it was made.
    """

    handle: _native.StreamState

    @classmethod
    def fresh(cls, schema: Schema, profile: Profile) -> LevelState:
        """Return the state before the first packet of a stream."""
        shapes = [spec.matrix_shape for spec in schema.level_tensors]
        return cls(_native.StreamState(shapes, PROFILE_CODES[profile]))

    @property
    def steps(self) -> NDArray[np.float32]:
        """Each tensor's last step; 0 where none has been coded yet."""
        return self.handle.steps

    def to_bytes(self) -> bytes:
        """Return the saved state (spec 10.2), about 2 bytes a weight before compression."""
        return self.handle.to_bytes()

    def restored(self, saved: bytes) -> LevelState:
        """Return the state that `to_bytes` saved, for a stream like this one.

        Raises
        ------
        DecodeError
            If the bytes are truncated, corrupt or of another stream.
        """
        try:
            return LevelState(self.handle.load_bytes(saved))
        except _native.StatusError as error:
            raise _decode_error(*error.args, available=len(saved)) from None


@dataclass(frozen=True, slots=True)
class CodedLevels:
    """What one pass of the level coder yields.

    Parameters
    ----------
    payload : bytes
        Empty when decoding.
    levels : ndarray, int32, shape (n,) or (0,)
        All tensors end to end, where they were asked for. Unit: steps; in packets of the trellis,
        those of a quantiser.
    values : ndarray, float32, shape (n,)
        What the levels stand for (spec 8).
    steps : ndarray, float32, shape (n_tensors,)
        0 for a tensor whose levels are all zero.
    costs : ndarray, uint64, shape (n_tensors,)
        Information in each tensor's bins. Unit: 2^-8 bit.
    n_nonzeros : ndarray, uint64, shape (n_tensors,)
        Levels of each tensor that are not zero.
    squared_errors : ndarray, float64, shape (n_tensors,)
        Sum over each tensor of the squared differences between `values` and those encoded; 0 where
        none were given.
    state : LevelState
        The state after the packet.
    """

    payload: bytes
    levels: NDArray[np.int32]
    values: NDArray[np.float32]
    steps: NDArray[np.float32]
    costs: NDArray[np.uint64]
    n_nonzeros: NDArray[np.uint64]
    squared_errors: NDArray[np.float64]
    state: LevelState


def encode_levels(
    state: LevelState,
    levels: NDArray[np.int32],
    steps: NDArray[np.float32],
    *,
    values: NDArray[np.float32] | None = None,
    rd_lambda: float = 0.0,
    threads: int = 1,
    wants_levels: bool = False,
) -> CodedLevels:
    """Entropy-code levels that are already chosen.

    Parameters
    ----------
    state : LevelState
    levels : ndarray, int32, shape (n,), C-contiguous
        All level-coded tensors end to end.
    steps : ndarray, float32, shape (n_tensors,)
    values : ndarray, float32, shape (n,), C-contiguous, optional
        What the levels were chosen for: offsets are fitted to them. Without, offsets stay.
    rd_lambda : float
        Price of a bit in squared steps, for offsets.
    threads : int
        At most so many at work; the packet is the same.
    wants_levels : bool
        Whether the result has `levels`.

    Returns
    -------
    CodedLevels

    Raises
    ------
    LevelCoderError
        If a level, a step or a length is out of range.

    Notes
    -----
    The GIL is released. Time O(n). Inverse: `decode_levels`.
    """
    targets = np.empty(0, np.float32) if values is None else values
    return _run_encoder(
        _native.encode_levels,
        state.handle,
        levels,
        steps,
        targets,
        rd_lambda,
        threads,
        wants_levels,
    )


def encode_values(
    state: LevelState,
    values: NDArray[np.float32],
    steps: NDArray[np.float32],
    *,
    rd_lambda: float,
    trellis: bool = False,
    importance: NDArray[np.float32] | None = None,
    fits_offsets: bool = True,
    threads: int = 1,
    wants_levels: bool = False,
) -> CodedLevels:
    """Choose levels by rate and distortion with the live costs of the contexts, and code them.

    Parameters
    ----------
    state : LevelState
    values : ndarray, float32, shape (n,), C-contiguous
        Finite, all level-coded tensors end to end.
    steps : ndarray, float32, shape (n_tensors,)
    rd_lambda : float
        Price of a bit in squared steps.
    trellis : bool
        Whether two interleaved quantisers are used (dependent quantisation, spec 5.6).
    importance : ndarray, float32, shape (n,), C-contiguous, optional
        What the squared error of each value counts, at least 0; None lets all count 1.
    fits_offsets : bool
        If not, all values are whole or half steps.
    threads : int
        At most so many at work; the packet is the same.
    wants_levels : bool
        Whether the result has `levels`.

    Returns
    -------
    CodedLevels

    Raises
    ------
    LevelCoderError
        If a value is too many steps away from zero, or a step or a length is out of range.

    References
    ----------
    .. [1] S. Wiedemann et al., "DeepCABAC: A Universal Compression Algorithm for Deep Neural
       Networks", IEEE J. Sel. Topics Signal Process. 14(4), 2020.
    """
    weights = np.empty(0, np.float32) if importance is None else importance
    return _run_encoder(
        _native.encode_values,
        state.handle,
        values,
        steps,
        rd_lambda,
        trellis,
        weights,
        fits_offsets,
        threads,
        wants_levels,
    )


def decode_levels(
    state: LevelState,
    payload: bytes,
    *,
    offset: int = 0,
    threads: int = 1,
    wants_levels: bool = False,
) -> CodedLevels:
    """Decode what `encode_levels` or `encode_values` coded against an equal state.

    Parameters
    ----------
    state : LevelState
    payload : bytes
    offset : int
        Where the payload begins in its packet; faults are reported from there.
    threads : int
        At most so many at work.
    wants_levels : bool
        Whether the result has `levels`.

    Returns
    -------
    CodedLevels

    Raises
    ------
    DecodeError
        If the payload contradicts the format; `state` is as it was.

    Notes
    -----
    The GIL is released. Allocates by the schema alone, whatever the payload says.
    """
    try:
        coded = _coded_levels(_native.decode_levels(state.handle, payload, threads, wants_levels))
    except _native.StatusError as error:
        raise _decode_error(*error.args, available=len(payload), offset=offset) from None
    if payload and not coded.values.size:
        # The core reads eight bytes before the first bin and so cannot miss them.
        raise _decode_error(21, 0, available=len(payload), offset=offset)
    return coded


def _run_encoder(encode, *arguments) -> CodedLevels:  # type: ignore[no-untyped-def]
    """Call one of the core's encoders and wrap what it returns."""
    try:
        return _coded_levels(encode(*arguments))
    except _native.StatusError as error:
        raise LevelCoderError(*error.args) from None


def _coded_levels(coded: _native._Coded) -> CodedLevels:
    payload, levels, values, steps, costs, n_nonzeros, squared_errors, handle = coded
    return CodedLevels(
        payload, levels, values, steps, costs, n_nonzeros, squared_errors, LevelState(handle)
    )


def _decode_error(code: int, position: int, *, available: int, offset: int = 0) -> DecodeError:
    """Translate a status of the core."""
    if code in TRUNCATIONS:
        return TruncatedPacketError(TRUNCATIONS[code], needed=available + 1, available=available)
    section, expected, found = PAYLOAD_FAULTS[code]
    return CorruptPacketError(section, offset + position, expected=expected, found=found)
