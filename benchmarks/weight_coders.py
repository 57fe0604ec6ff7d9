# SPDX-License-Identifier: Apache-2.0
"""Coders of whole models at a given error, for `real_weights`.

The error is the root mean square of all errors of matrices over that of their values.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

import brotli
import numpy as np
import zstandard
from numpy.typing import NDArray
from running import timed

import fl_deepcabac as dc
from fl_deepcabac.experiments.baselines.nncodec import NnCodec, nearest_qp
from fl_deepcabac.models import compress_model, decompress_model

Weights = dict[str, NDArray[np.generic]]
Result = TypeVar("Result")

# Of the root mean square: about 6, 5 and 3 bits a weight.
ERRORS: Final = (0.01, 0.03, 0.1)
# NNCodec's default price of a bit, and the one that served it best on updates.
NNCODEC_PRICES: Final = (0.0, 1.0)
# How near the error has to come from below, and how often that is tried.
_NEAR, _TRIES = 0.998, 30


@dataclass(frozen=True)
class Coded:
    """One pass: bytes, error, seconds of encoding and decoding."""

    n_bytes: int
    error: float
    encode_seconds: float
    decode_seconds: float


def error_of(weights: Weights, decoded: Weights) -> float:
    """Return the error of the matrices, relative to their root mean square."""
    lost = total = 0.0
    for name, own in weights.items():
        if own.ndim > 1:
            lost += float(np.square(own - decoded[name], dtype=np.float64).sum())
            total += float(np.square(own, dtype=np.float64).sum())
    return math.sqrt(lost / total)


def scale_of(weights: Weights) -> float:
    """Return the root mean square of all matrices."""
    squares = [np.square(own, dtype=np.float64) for own in weights.values() if own.ndim > 1]
    return math.sqrt(sum(own.sum() for own in squares) / sum(own.size for own in squares))


def run_ours(weights: Weights, profile: str, step: float) -> Coded:
    """Code with one step for all matrices."""
    config = dc.CodecConfig(step=step, profile=profile)
    encode_seconds, model = timed(lambda: compress_model(weights, config))
    decode_seconds, decoded = timed(lambda: decompress_model(model))
    return Coded(model.n_bytes, error_of(weights, decoded), encode_seconds, decode_seconds)


def ours_at(weights: Weights, profile: str, error: float) -> Coded:
    """Return the coarsest pass within the error, by bisection."""
    low, high, best = 0.0, math.inf, None
    step = error * scale_of(weights) * math.sqrt(12) / 2
    for _ in range(_TRIES):
        coded = run_ours(weights, profile, step)
        if coded.error <= error:
            low, best = step, coded
            if coded.error >= _NEAR * error:
                return coded
        else:
            high = step
        guess = step * error / coded.error * (1 + _NEAR) / 2
        step = guess if low < guess < high else math.sqrt(max(low, step / 4) * min(high, step * 4))
    if best is None:
        raise RuntimeError(f"expected a step with an error of {error}, found none")
    return best


def run_nncodec(weights: Weights, price: float, qp: int) -> Coded:
    """Code with NNCodec's quantisation parameter, its other settings left alone."""
    codec = NnCodec(qp=qp, lambda_scale=price, tca=False, error_feedback=False)
    schema = dc.Schema.from_arrays(weights)
    rng = np.random.default_rng(0)
    # What it takes is another process's time. Encoding there decodes, too.
    both_seconds, (payload, _) = wall_timed(lambda: codec.encode(dict(weights), schema, {}, rng))
    decode_seconds, (decoded, _) = wall_timed(lambda: codec.decode(payload, schema, {}))
    error = error_of(weights, decoded)
    return Coded(len(payload), error, max(both_seconds - decode_seconds, 0.0), decode_seconds)


def nncodec_at(weights: Weights, price: float, error: float) -> Coded:
    """Return what NNCodec would take at an error, between the two passes next to it."""
    passes: dict[int, Coded] = {}

    def at(qp: int) -> Coded:
        if qp not in passes:
            passes[qp] = run_nncodec(weights, price, qp)
        return passes[qp]

    qp = nearest_qp(error * scale_of(weights) * math.sqrt(12) / 2)
    # Four parameters double the step, and so, about, the error.
    qp += round(4 * math.log2(error / at(qp).error))
    while at(qp).error > error:
        qp -= 1
    while at(qp + 1).error <= error:
        qp += 1
    finer, coarser = at(qp), at(qp + 1)
    part = math.log(error / finer.error) / math.log(coarser.error / finer.error)
    n_bytes = finer.n_bytes ** (1 - part) * coarser.n_bytes**part
    return Coded(round(n_bytes), error, finer.encode_seconds, finer.decode_seconds)


def wall_timed(call: Callable[[], Result]) -> tuple[float, Result]:
    """Return seconds by the clock and result of a call."""
    begin = time.monotonic()
    result = call()
    return time.monotonic() - begin, result


def run_general(
    weights: Weights,
    dtype: type,
    compress: Callable[[bytes], bytes],
    decompress: Callable[[bytes], bytes],
) -> Coded:
    """Compress all bytes of all tensors, end to end, in some float type."""
    narrowed = {name: own.astype(dtype) for name, own in weights.items()}
    raw = b"".join(own.tobytes() for own in narrowed.values())
    encode_seconds, content = timed(lambda: compress(raw))
    decode_seconds, restored = timed(lambda: decompress(content))
    assert restored == raw
    return Coded(len(content), error_of(weights, narrowed), encode_seconds, decode_seconds)


ZSTD = zstandard.ZstdCompressor(level=19).compress, zstandard.ZstdDecompressor().decompress
BROTLI = (lambda raw: brotli.compress(raw, quality=9, lgwin=24)), brotli.decompress
GENERAL: Final = {
    "float32 + zstd 19": (np.float32, *ZSTD),
    "float32 + brotli 9": (np.float32, *BROTLI),
    "float16 + zstd 19": (np.float16, *ZSTD),
}
PROFILES: Final = {"DeepCABAC fast": "fast", "DeepCABAC max": "max"}
NNCODEC: Final = "NNCodec"
CODERS: Final = (*GENERAL, *PROFILES, NNCODEC)


def measure(weights: Weights, coder: str) -> Iterator[tuple[float | None, Coded]]:
    """Yield what a coder makes of a model at each error; general compressors have no error."""
    if coder in GENERAL:
        yield None, run_general(weights, *GENERAL[coder])
        return
    for error in ERRORS:
        if coder in PROFILES:
            yield error, ours_at(weights, PROFILES[coder], error)
        else:
            found = [nncodec_at(weights, price, error) for price in NNCODEC_PRICES]
            yield error, min(found, key=lambda coded: coded.n_bytes)
