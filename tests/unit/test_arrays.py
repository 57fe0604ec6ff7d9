# SPDX-License-Identifier: Apache-2.0
"""The boundary: every way in which NumPy can hold the same numbers, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from samples import assert_same, sample_values

import fl_deepcabac as dc
from fl_deepcabac.arrays import check_update, flatten_values, join_exact, split_exact

BASE = sample_values(1, (6, 4), "float32", bits=8)
CONFIG = dc.CodecConfig(step=2.0**-8, quantizer="uniform")


def read_only(array: NDArray[np.generic]) -> NDArray[np.generic]:
    array = array.copy()
    array.setflags(write=False)
    return array


def strided(array: NDArray[np.generic]) -> NDArray[np.generic]:
    wide = np.zeros((12, 8), array.dtype)
    wide[::2, 1::2] = array
    return wide[::2, 1::2]


def unaligned(array: NDArray[np.generic]) -> NDArray[np.generic]:
    raw = bytearray(1) + array.tobytes()
    return np.frombuffer(raw, array.dtype, array.size, offset=1).reshape(array.shape)


LAYOUTS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "fortran": np.asfortranarray,
    "strided": strided,
    "reversed": lambda array: array[::-1, ::-1].copy()[::-1, ::-1],
    "transposed": lambda array: array.T.copy().T,
    "big_endian": lambda array: array.astype(array.dtype.newbyteorder(">")),
    "read_only": read_only,
    "unaligned": unaligned,
    "subclass": lambda array: array.view(np.recarray),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32", "uint8"])
def test_every_layout_of_the_same_numbers_gives_the_same_packet(layout: str, dtype: str) -> None:
    array = (BASE * 100).astype(dtype) if "int" in dtype else BASE.astype(dtype)
    plain = {"a": array}
    other = {"a": LAYOUTS[layout](array)}
    assert dc.Schema.from_arrays(plain) == dc.Schema.from_arrays(other)
    encoder = dc.UpdateEncoder(dc.Schema.from_arrays(plain), CONFIG)
    before = other["a"].tobytes()
    encoded = encoder.encode(other)
    assert encoded.packet == dc.compress(plain, CONFIG)
    assert other["a"].tobytes() == before
    assert_same(dc.decompress(encoded.packet, encoder.schema, CONFIG), encoded.decoded)


def test_numpy_scalars_travel_as_tensors_of_rank_0() -> None:
    update = {"f": np.float32(0.1), "i": np.int64(-3), "b": np.bool_(True)}
    schema = dc.Schema.from_arrays(update)
    decoded = dc.decompress(dc.compress(update, CONFIG), schema, CONFIG)
    assert [array.shape for array in decoded.values()] == [(), (), ()]
    assert decoded["f"] == np.float32(0.1)
    assert decoded["i"] == -3
    assert decoded["b"] == np.True_


def test_exact_floats_of_rank_0_may_be_nan() -> None:
    update = {"f": np.array(np.nan, np.float64)}
    schema = dc.Schema.from_arrays(update)
    decoded = dc.decompress(dc.compress(update, CONFIG), schema, CONFIG)
    assert decoded["f"].tobytes() == update["f"].tobytes()


def test_decoded_arrays_belong_to_the_caller() -> None:
    update = {"w": BASE, "i": np.arange(4)}
    schema = dc.Schema.from_arrays(update)
    encoded = dc.UpdateEncoder(schema, CONFIG).encode(update)
    decoded = dc.decompress(encoded.packet, schema, CONFIG)
    for arrays in (decoded, encoded.decoded):
        for name, array in arrays.items():
            assert array.flags.writeable
            assert array.flags.c_contiguous
            assert not np.shares_memory(array, update[name])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda u: u.pop("a"), r"missing \['a'\]"),
        (lambda u: u.update(c=BASE), r"found \['c'\] as well"),
        (lambda u: u.update(a=BASE.T), r"tensor 'a': expected float32 of shape \(6, 4\), found"),
        (lambda u: u.update(a=BASE.astype(np.float64)), r"tensor 'a': expected float32 .* float64"),
        (lambda u: u.update(b=np.zeros(3, np.int32)), r"tensor 'b': expected int64 .* int32"),
        (lambda u: u.update(b=np.zeros((1, 3), np.int64)), r"tensor 'b': expected .* \(1, 3\)"),
    ],
)
def test_update_of_another_schema_is_refused(
    change: Callable[[dict[str, Any]], object], match: str
) -> None:
    update: dict[str, Any] = {"a": BASE, "b": np.zeros(3, np.int64)}
    encoder = dc.UpdateEncoder(dc.Schema.from_arrays(update), CONFIG)
    state = encoder.state_bytes()
    change(update)
    with pytest.raises(dc.SchemaMismatchError, match=match):
        encoder.encode(update)
    assert encoder.state_bytes() == state


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_non_finite_values_are_refused_by_place(dtype: str, value: float) -> None:
    update = {"a": BASE.astype(dtype), "b": BASE.astype(dtype)}
    encoder = dc.UpdateEncoder(dc.Schema.from_arrays(update), CONFIG)
    encoder.encode(update)
    state = encoder.state_bytes()
    update["b"][3, 2] = update["b"][5, 0] = value
    with pytest.raises(
        dc.NonFiniteError, match=r"tensor 'b': expected finite .* \(3, 2\)"
    ) as caught:
        encoder.encode(update)
    assert (caught.value.tensor, caught.value.index) == ("b", (3, 2))
    assert encoder.state_bytes() == state


def test_flat_vectors_hold_the_tensors_in_schema_order() -> None:
    update = {"i": np.array([1, 2], ">i2"), "x": BASE.T, "j": np.array(True), "y": BASE[0]}
    schema = dc.Schema.from_arrays(update)
    arrays = check_update(dict(reversed(update.items())), schema)
    assert list(arrays) == list(update)
    assert flatten_values(arrays, schema).tolist() == [*BASE.T.ravel(), *BASE[0]]
    joined = join_exact(arrays, schema)
    assert joined == b"\1\0\2\0\1"
    split = split_exact(joined, schema)
    assert split["i"].tolist() == [1, 2]
    assert split["j"].shape == ()
