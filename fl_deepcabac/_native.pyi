# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__version__: str
MAX_LEVEL: int

class StatusError(ValueError): ...

class StreamState:
    def __init__(self, shapes: Sequence[tuple[int, int]], profile: int) -> None: ...
    @property
    def steps(self) -> NDArray[np.float32]: ...
    def to_bytes(self) -> bytes: ...
    def load_bytes(self, arg0: bytes, /) -> StreamState: ...

# Payload, all levels if wanted, their values; of each tensor its step, its cost in 2^-8 bit, the
# number of its levels that are not zero, its squared error; state after.
_Coded = tuple[
    bytes,
    NDArray[np.int32],
    NDArray[np.float32],
    NDArray[np.float32],
    NDArray[np.uint64],
    NDArray[np.uint64],
    NDArray[np.float64],
    StreamState,
]

def encode_levels(
    state: StreamState,
    levels: NDArray[np.int32],
    steps: NDArray[np.float32],
    values: NDArray[np.float32],
    price: float,
    threads: int,
    wants_levels: bool,
) -> _Coded: ...
def encode_values(
    state: StreamState,
    values: NDArray[np.float32],
    steps: NDArray[np.float32],
    price: float,
    dependent: bool,
    importance: NDArray[np.float32],
    fits_offsets: bool,
    threads: int,
    wants_levels: bool,
) -> _Coded: ...
def decode_levels(
    state: StreamState, payload: bytes, threads: int, wants_levels: bool
) -> _Coded: ...
def value_digest(values: NDArray[np.float32]) -> int: ...
def quantize_uniform(
    values: NDArray[np.float32], step: float, dead_zone: float
) -> NDArray[np.int32]: ...
