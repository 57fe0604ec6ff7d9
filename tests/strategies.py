# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies that several test modules share. Examples are derived, never random."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from fl_deepcabac import CodecConfig

PROFILES = ("fast", "max")
SHAPES = st.one_of(
    st.sampled_from(
        [
            (),
            (1,),
            (0,),
            (1, 1),
            (9, 1),
            (1, 9),
            (2, 5, 1),
            (0, 3),
            (3, 0, 2),
            (65,),
            (2, 64),
            (40, 2),
        ]
    ),
    hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=6),
)
FLOATS = ("float16", "float32", "float64")
INTEGERS = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def examples(n: int) -> Any:
    """Return settings for a test of `n` examples, the same ones in every run."""
    return settings(
        max_examples=n,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@st.composite
def arrays(draw: st.DrawFn) -> NDArray[np.generic]:
    """Draw a tensor of any dtype and shape; floats are finite, and coarse enough for step 2^-10."""
    dtype, shape = draw(st.sampled_from(FLOATS + INTEGERS)), draw(SHAPES)
    if dtype not in FLOATS:
        return draw(hnp.arrays(dtype, shape))
    width = 8 * np.dtype(dtype).itemsize
    bound = 8192.0
    values = st.floats(-bound, bound, width=width) | st.sampled_from(
        [0.0, -0.0, float(np.finfo(dtype).tiny), float(np.finfo(dtype).smallest_subnormal)]
    )
    return draw(hnp.arrays(dtype, shape, elements=values, fill=st.just(0.0)))


@st.composite
def updates(draw: st.DrawFn) -> dict[str, NDArray[np.generic]]:
    """Draw an update of up to five tensors."""
    return draw(st.dictionaries(st.text(max_size=4), arrays(), max_size=5))


@st.composite
def configs(draw: st.DrawFn) -> CodecConfig:
    """Draw any valid settings whose steps suit `arrays`."""
    step = draw(st.none() | st.floats(2**-10, 2.0**20))
    relative_step = draw(st.floats(0.01, 100.0)) if step is None else None
    return CodecConfig(
        step=step,
        relative_step=relative_step,
        profile=draw(st.sampled_from(PROFILES)),
        quantizer=draw(st.sampled_from(["rdoq", "deadzone", "uniform", "stochastic"])),
        rd_lambda=draw(st.floats(0.0, 1.0)),
        dead_zone=draw(st.floats(0.5, 0.95)),
        allocation=draw(st.sampled_from(["size", "uniform"])),
        error_feedback=draw(st.booleans()),
    )
