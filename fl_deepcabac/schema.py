# SPDX-License-Identifier: Apache-2.0
"""What both sides know about a model before any packet travels (spec 2).

Names, shapes and dtypes, in order. Sizes come from here and never from a packet, so a packet can
ask for no memory that the model does not already need. Invariant: equal schemas, equal digests.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.errors import SchemaMismatchError

__all__ = ["DIGEST_BYTES", "Schema", "TensorSpec"]

DIGEST_BYTES = 8
LEVEL_DTYPES = frozenset({"float16", "float32", "float64"})
EXACT_DTYPES = frozenset(
    {"bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}
)
# How dtypes that other libraries add to NumPy begin; saved by NumPy, they come back as void.
FOREIGN_DTYPES = ("void", "bfloat16", "float8")
# One stream codes its weights in one flat vector with 32-bit positions (spec 9).
MAX_ELEMENTS = 2**31 - 1
# Of those that are at fault, in a message.
SHOWN_NAMES = 8


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape and dtype of one tensor.

    Parameters
    ----------
    name : str
        Key in the update.
    shape : tuple of int
        Any rank, including 0, and any extent, including 0.
    dtype : str
        NumPy name in native byte order: a float of 16, 32 or 64 bits, an integer, or bool.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str

    def __post_init__(self) -> None:
        try:
            self.name.encode()
        except UnicodeEncodeError:
            raise SchemaMismatchError(
                f"tensor {self.name!r}: expected a name that is text, found half a surrogate pair"
            ) from None
        if self.dtype not in LEVEL_DTYPES | EXACT_DTYPES:
            known = ", ".join(sorted(LEVEL_DTYPES | EXACT_DTYPES))
            hint = ""
            if self.dtype.startswith(FOREIGN_DTYPES):
                hint = "; bfloat16 and float8 travel as float32 (docs/dtypes.md)"
            raise SchemaMismatchError(
                f"tensor {self.name!r}: expected one of the dtypes {known}; "
                f"found {self.dtype}{hint}"
            )

    @property
    def is_exact(self) -> bool:
        """Whether the tensor travels unchanged: integers, booleans and 0-d tensors do (spec 4)."""
        return self.dtype in EXACT_DTYPES or not self.shape

    @cached_property
    def n_elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @cached_property
    def raw_bytes(self) -> int:
        """Bytes of the uncompressed tensor."""
        return self.n_elements * np.dtype(self.dtype).itemsize

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """Rows and columns that the level coder sees: first axis by all others (spec 5.1).

        A tensor of one axis, or with a single column or no element, is one row.
        """
        if self.n_elements == 0:
            return 1, 0
        n_columns = math.prod(self.shape[1:])
        if len(self.shape) == 1 or n_columns == 1:
            return 1, self.n_elements
        return self.shape[0], n_columns


@dataclass(frozen=True)
class Schema:
    """Names, shapes and dtypes of an update, in order.

    Parameters
    ----------
    tensors : tuple of TensorSpec
        In the order in which packets carry them; names are unique.

    Raises
    ------
    SchemaMismatchError
        If names repeat, a dtype is unsupported, or there are more than ``2**31 - 1`` elements.

    Examples
    --------
    >>> schema = Schema.from_arrays({"w": np.zeros((2, 3), np.float32)})
    >>> schema.n_elements, schema.raw_bytes
    (6, 24)
    """

    tensors: tuple[TensorSpec, ...]

    def __post_init__(self) -> None:
        names = [spec.name for spec in self.tensors]
        if len(set(names)) != len(names):
            repeated = sorted(name for name, n in Counter(names).items() if n > 1)[:SHOWN_NAMES]
            raise SchemaMismatchError(f"schema: expected unique names, found {repeated} repeated")
        if self.n_elements > MAX_ELEMENTS:
            raise SchemaMismatchError(
                f"schema: expected at most {MAX_ELEMENTS} elements, found {self.n_elements}"
            )

    @classmethod
    def from_arrays(cls, update: Mapping[str, NDArray[np.generic]]) -> Schema:
        """Describe an update.

        Parameters
        ----------
        update : mapping of str to ndarray
            The order of the mapping is the order of the schema.

        Returns
        -------
        Schema

        Raises
        ------
        SchemaMismatchError
            If a dtype is none of those that `TensorSpec` lists.
        TypeError
            If a value is not a NumPy array or NumPy scalar.
        """
        specs = []
        for name, array in update.items():
            if not isinstance(name, str):
                raise TypeError(f"update: expected str names, found {type(name).__name__} {name!r}")
            if not isinstance(array, np.ndarray | np.generic):
                raise TypeError(
                    f"tensor {name!r}: expected a NumPy array, found {type(array).__name__}"
                )
            specs.append(TensorSpec(name, tuple(array.shape), array.dtype.name))
        return cls(tuple(specs))

    @cached_property
    def level_tensors(self) -> tuple[TensorSpec, ...]:
        """The tensors that are quantised and coded as levels."""
        return tuple(spec for spec in self.tensors if not spec.is_exact)

    @cached_property
    def exact_tensors(self) -> tuple[TensorSpec, ...]:
        """The tensors that travel unchanged."""
        return tuple(spec for spec in self.tensors if spec.is_exact)

    @property
    def n_elements(self) -> int:
        """Number of elements in all tensors."""
        return sum(spec.n_elements for spec in self.tensors)

    @property
    def raw_bytes(self) -> int:
        """Bytes of the uncompressed update."""
        return sum(spec.raw_bytes for spec in self.tensors)

    @cached_property
    def digest(self) -> bytes:
        """BLAKE2b-64 of the canonical text (spec 2.2), 8 bytes."""
        return hashlib.blake2b(self.to_json().encode(), digest_size=DIGEST_BYTES).digest()

    def to_json(self) -> str:
        """Return the canonical text: one JSON list of ``[name, dtype, shape]`` without spaces."""
        rows = [[spec.name, spec.dtype, list(spec.shape)] for spec in self.tensors]
        return json.dumps(rows, separators=(",", ":"), ensure_ascii=True)

    @classmethod
    def from_json(cls, text: str) -> Schema:
        """Read what `to_json` wrote.

        Raises
        ------
        SchemaMismatchError
            If the text is not such a list.
        """
        try:
            rows = json.loads(text)
            specs = tuple(
                TensorSpec(str(name), _shape(shape), str(dtype)) for name, dtype, shape in rows
            )
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise SchemaMismatchError(
                f"schema text: expected a list of [name, dtype, shape], found an error: {error}"
            ) from error
        return cls(specs)


def _shape(extents: Iterable[object]) -> tuple[int, ...]:
    """Check a shape; NumPy has the last word, on ranks, and on extents beside one of 0."""
    shape = tuple(_extent(n) for n in extents)
    # A view of one number: nothing is allocated.
    np.broadcast_to(np.float64(0), shape)
    return shape


def _extent(value: object) -> int:
    """Check one extent of a shape."""
    if type(value) is not int or value < 0:
        raise ValueError(f"expected a non-negative integer extent, found {value!r}")
    return value
