# SPDX-License-Identifier: Apache-2.0
"""Schemas: what they describe, refuse, and how they are named."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from samples import sample_update

import fl_deepcabac as dc


def test_schema_describes_names_shapes_and_dtypes_in_order() -> None:
    schema = dc.Schema.from_arrays(
        {"b": np.zeros((2, 3), np.float16), "a": np.zeros(4, np.int64), "s": np.float32(1)}
    )
    assert [(t.name, t.shape, t.dtype, t.is_exact) for t in schema.tensors] == [
        ("b", (2, 3), "float16", False),
        ("a", (4,), "int64", True),
        ("s", (), "float32", True),
    ]
    assert [(t.n_elements, t.raw_bytes) for t in schema.tensors] == [(6, 12), (4, 32), (1, 4)]
    assert (schema.n_elements, schema.raw_bytes) == (11, 48)
    assert [t.name for t in schema.level_tensors] == ["b"]
    assert [t.name for t in schema.exact_tensors] == ["a", "s"]


def test_schema_digest_is_that_of_the_document() -> None:
    schema = dc.Schema.from_arrays({"é": np.zeros((2, 3), np.float32), "b": np.zeros((), bool)})
    text = b'[["\\u00e9","float32",[2,3]],["b","bool",[]]]'
    assert schema.to_json().encode() == text
    assert schema.digest == hashlib.blake2b(text, digest_size=8).digest()
    assert len(schema.digest) == 8


def test_schema_digest_depends_on_every_fact() -> None:
    arrays = [
        {"a": np.zeros((2, 3), np.float32), "b": np.zeros(4, np.int8)},
        {"b": np.zeros(4, np.int8), "a": np.zeros((2, 3), np.float32)},
        {"a": np.zeros((3, 2), np.float32), "b": np.zeros(4, np.int8)},
        {"a": np.zeros((2, 3), np.float64), "b": np.zeros(4, np.int8)},
        {"c": np.zeros((2, 3), np.float32), "b": np.zeros(4, np.int8)},
        {"a": np.zeros((2, 3), np.float32)},
        {},
    ]
    assert len({dc.Schema.from_arrays(update).digest for update in arrays}) == len(arrays)


def test_schema_json_round_trips() -> None:
    schema = dc.Schema.from_arrays(sample_update(0))
    again = dc.Schema.from_json(schema.to_json())
    assert again == schema
    assert again.digest == schema.digest


def test_schema_of_big_endian_arrays_is_that_of_native_ones() -> None:
    native, swapped = np.zeros(3, "<f4"), np.zeros(3, ">f4")
    assert dc.Schema.from_arrays({"a": native}) == dc.Schema.from_arrays({"a": swapped})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "3",
        '{"a": 1}',
        "[[]]",
        '[["a","float32"]]',
        '[["a","float32",3]]',
        '[["a","float32",["3"]]]',
        '[["a","float32",[-1]]]',
        '[["a","float32",[1.5]]]',
        '[["a","float32",[true]]]',
        '[["a","complex64",[3]]]',
        '[["a","int8",[3]],["a","int8",[3]]]',
        '[["a","float32",[65536,65536]]]',
        '[["a","float32",[0,1000000000000000000000]]]',
        f'[["a","int8",{[1] * 65}]]',
        "[" * 100_000,
    ],
)
def test_schema_from_json_refuses_other_texts(text: str) -> None:
    with pytest.raises(dc.SchemaMismatchError, match=r"expected.*found"):
        dc.Schema.from_json(text)


@pytest.mark.parametrize("dtype", ["complex64", "datetime64[s]", "U3", "O", "V4", "longdouble"])
def test_schema_refuses_dtypes_without_a_coding(dtype: str) -> None:
    with pytest.raises(dc.SchemaMismatchError, match=r"tensor 'a': expected .* found"):
        dc.Schema.from_arrays({"a": np.zeros(2, dtype)})


@pytest.mark.parametrize("dtype", ["void16", "void8", "bfloat16", "float8_e4m3fn"])
def test_schema_says_what_to_do_with_bfloat16(dtype: str) -> None:
    with pytest.raises(dc.SchemaMismatchError, match=rf"{dtype}; bfloat16 .*docs/dtypes\.md"):
        dc.TensorSpec("a", (2,), dtype)
    with pytest.raises(dc.SchemaMismatchError, match=r"found complex64$"):
        dc.TensorSpec("a", (2,), "complex64")


@pytest.mark.parametrize("value", [[1.0], 1.0, None, "x", memoryview(b"abc")])
def test_schema_refuses_what_is_no_array(value: object) -> None:
    with pytest.raises(TypeError, match=r"tensor 'a': expected a NumPy array, found"):
        dc.Schema.from_arrays({"a": value})


def test_schema_refuses_names_that_are_no_text() -> None:
    with pytest.raises(TypeError, match="expected str names, found int 3"):
        dc.Schema.from_arrays({3: np.zeros(2)})


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5,), (1, 5)),
        ((5, 1), (1, 5)),
        ((1, 5), (1, 5)),
        ((2, 5), (2, 5)),
        ((2, 1, 1), (1, 2)),
        ((4, 3, 2), (4, 6)),
        ((0, 3), (1, 0)),
        ((3, 0), (1, 0)),
    ],
)
def test_schema_matrix_shape_follows_the_document(
    shape: tuple[int, ...], expected: tuple[int, int]
) -> None:
    (spec,) = dc.Schema.from_json(json.dumps([["a", "float32", shape]])).tensors
    assert spec.matrix_shape == expected


def test_schema_with_a_huge_empty_tensor_codes() -> None:
    update = {"a": np.zeros((0, 1 << 40), np.float32), "b": np.ones(2, np.float32)}
    schema = dc.Schema.from_arrays(update)
    config = dc.CodecConfig(step=1.0)
    decoded = dc.decompress(dc.compress(update, config), schema, config)
    assert decoded["a"].shape == (0, 1 << 40)
