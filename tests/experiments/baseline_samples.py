# SPDX-License-Identifier: Apache-2.0
"""Methods and updates that the tests of the baselines share."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from samples import sample_update

from fl_deepcabac import Schema
from fl_deepcabac.experiments.baselines.catalogue import build_method
from fl_deepcabac.experiments.baselines.method import Memory, Method

Update = dict[str, NDArray[Any]]

# No wheel of pysz is made for some processors.
HAS_SZ3 = find_spec("pysz") is not None
needs_sz3 = pytest.mark.skipif(not HAS_SZ3, reason="pysz is not installed")
# Every method but NNCodec, which has tests of its own; where parameters lead elsewhere, twice.
SPECS: list[dict[str, Any]] = [
    {"name": "fp16"},
    {"name": "bf16"},
    {"name": "zstd"},
    {"name": "zstd", "byte_planes": True},
    {"name": "uniform"},
    {"name": "uniform", "bits": 1},
    {"name": "uniform", "bits": 11},
    {"name": "uniform", "bits": 2, "span": "maxabs"},
    {"name": "qsgd"},
    {"name": "qsgd", "levels": 1, "bucket": 7},
    {"name": "qsgd", "levels": 1000, "norm": "max"},
    {"name": "qsgd", "bucket": 2**31 - 1},
    {"name": "topk", "density": 0.2},
    {"name": "topk", "density": 0.5, "scope": "tensor", "values": "float16"},
    {"name": "stc", "density": 0.2},
    {"name": "stc", "density": 0.1, "scope": "tensor"},
    {"name": "drive"},
    {"name": "drive", "scale": "least error", "block": 8},
    {"name": "eden", "bits": 3, "scale": "least error"},
    {"name": "signsgd"},
    {"name": "powersgd", "rank": 1},
    {"name": "powersgd", "rank": 2, "values": "float16"},
    {"name": "kmeans", "bits": 2},
    {"name": "kmeans", "bits": 1, "iterations": 0},
]
if HAS_SZ3:
    SPECS += [
        {"name": "sz3"},
        {"name": "sz3", "bound": 0.5, "relative_to": "rms", "predictor": "interpolation"},
    ]


def label(spec: dict[str, Any]) -> str:
    """Return a readable id."""
    return " ".join(str(value) for value in spec.values())


def method_of(spec: dict[str, Any], **changes: Any) -> Method:
    """Return the method that a spec describes."""
    settings = {key: value for key, value in spec.items() if key != "name"}
    return build_method(spec["name"], settings | changes)


def make_update(seed: int = 0, *, scale: float = 0.01) -> Update:
    """Return an update with matrices, a filter, biases, and exact tensors."""
    rng = np.random.default_rng(seed)

    def floats(*shape: int) -> NDArray[np.float32]:
        # Of heavy tails, as updates are.
        return (scale * rng.standard_t(4, shape)).astype(np.float32)

    return {
        "fc.weight": floats(24, 40),
        "conv.weight": floats(8, 4, 3, 3),
        "bias": floats(24),
        "counter": np.array(seed, np.int64),
        "mask": rng.random(5) < 0.5,
    }


def edge_cases() -> dict[str, Update]:
    """Return updates at which something may break."""
    rng = np.random.default_rng(1)
    zero = np.zeros((3, 4), np.float32)
    spread = rng.standard_normal(50).astype(np.float32)
    return {
        "no tensor": {},
        "only exact": {"n": np.array(3, np.int32), "scalar": np.array(0.5, np.float32)},
        "nothing in it": {"a": np.zeros((0, 3), np.float32), "b": np.zeros(0, np.float64)},
        "empty among others": {"a": spread[:9], "b": np.zeros((2, 0), np.float32), "c": spread},
        "zeros": {"w": zero, "b": zero[0]},
        "negative zeros": {"w": -zero},
        "constant": {"w": np.full((4, 9), 0.25, np.float32), "b": np.full(3, -2, np.float32)},
        "one element": {"w": np.array([[-0.125]], np.float32)},
        "one that is not zero": {"w": np.eye(1, 500, 77, dtype=np.float32)},
        "tiny": {"w": (spread * np.float32(1e-44)).reshape(5, 10)},
        "huge": {"w": (spread * np.float32(1e30)).reshape(5, 10)},
        "largest": {"w": np.array([3.4e38, -3.4e38, 1.0, 0.0] * 9, np.float32).reshape(6, 6)},
        "far apart": {"w": (spread * 10.0 ** rng.integers(-30, 30, 50)).astype(np.float32)},
        "every dtype": sample_update(3),
    }


def encode(
    method: Method, update: Update, memory: Memory | None = None, *, seed: int = 0
) -> tuple[bytes, Memory]:
    """Encode an update by chance of a seed."""
    schema = Schema.from_arrays(update)
    return method.encode(update, schema, memory or {}, np.random.default_rng(seed))


def decode(method: Method, payload: bytes, update: Update) -> Update:
    """Decode a payload for a model like that of an update."""
    decoded, memory = method.decode(payload, Schema.from_arrays(update), {})
    assert memory == {}
    return decoded


def floats_of(update: Update) -> NDArray[np.float64]:
    """Return all floats that are not exact, end to end."""
    schema = Schema.from_arrays(update)
    parts = [update[spec.name].reshape(-1).astype(np.float64) for spec in schema.level_tensors]
    return np.concatenate([np.zeros(0), *parts])
