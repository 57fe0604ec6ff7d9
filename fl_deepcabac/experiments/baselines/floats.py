# SPDX-License-Identifier: Apache-2.0
"""Floats of half the width, and floats as they are behind a general compressor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.arrays import check_update, join_exact
from fl_deepcabac.byte_planes import pack_planes, unpack_planes
from fl_deepcabac.errors import NonFiniteError
from fl_deepcabac.experiments.baselines.checks import require_bool, require_integer
from fl_deepcabac.experiments.baselines.method import (
    Carried,
    FloatMethod,
    Memory,
    Update,
    read_exact,
)
from fl_deepcabac.experiments.baselines.payload import (
    MAX_ZSTD_LEVEL,
    PayloadReader,
    squeeze,
    unsqueeze,
    write_floats,
)
from fl_deepcabac.experiments.settings import SettingsError
from fl_deepcabac.schema import Schema

__all__ = ["BFloat16", "Float16", "Zstd"]

_HIGH_HALF: Final = 16
_LARGEST_BFLOAT16: Final = np.float32(2.0**127 * (2 - 2.0**-7))


@dataclass(frozen=True, kw_only=True)
class Float16(FloatMethod):
    """Every float in IEEE half precision; beyond 65504, that."""

    name: ClassVar[str] = "fp16"

    def pack(self, carried: Carried) -> bytes:
        """Return two bytes a weight."""
        return write_floats(carried.values, "<f2")

    def unpack(self, reader: PayloadReader, schema: Schema) -> NDArray[np.float32]:
        """Return the vector."""
        return reader.floats(_n_values(schema), "floats", "<f2")


@dataclass(frozen=True, kw_only=True)
class BFloat16(FloatMethod):
    """Every float in bfloat16, the upper half of float32, rounded to nearest, ties to even."""

    name: ClassVar[str] = "bf16"

    def pack(self, carried: Carried) -> bytes:
        """Return two bytes a weight."""
        held = np.clip(carried.values, -_LARGEST_BFLOAT16, _LARGEST_BFLOAT16)
        words = held.view(np.uint32)
        is_odd = words >> _HIGH_HALF & 1
        return (words + is_odd + np.uint32(0x7FFF) >> _HIGH_HALF).astype("<u2").tobytes()

    def unpack(self, reader: PayloadReader, schema: Schema) -> NDArray[np.float32]:
        """Return the vector."""
        halves = np.frombuffer(reader.take(2 * _n_values(schema), "floats"), "<u2")
        values = (halves.astype(np.uint32) << _HIGH_HALF).view(np.float32)
        if not np.isfinite(values).all():
            reader.refuse("floats", expected="finite numbers", found="others")
        return values


@dataclass(frozen=True, kw_only=True)
class Zstd:
    """All floats as they are, in one zstandard frame: without loss.

    Parameters
    ----------
    level : int, optional
        Of zstandard, in [1, 19]; its own default, 3, if not given. Not with `byte_planes`.
    byte_planes : bool
        Whether the bytes of one place of all elements lie together, as in a keyframe of this
        package.

    Raises
    ------
    SettingsError
        If a setting is out of range.
    """

    name: ClassVar[str] = "zstd"
    level: int | None = None
    byte_planes: bool = False

    def __post_init__(self) -> None:
        require_bool(self, "byte_planes")
        if self.level is not None:
            require_integer(self, "level", 1, MAX_ZSTD_LEVEL)
            if self.byte_planes:
                raise SettingsError("level", expected="none with byte_planes", found=self.level)

    def describe(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return asdict(self)

    def encode(
        self, update: Update, schema: Schema, memory: Mapping[str, Any], rng: np.random.Generator
    ) -> tuple[bytes, Memory]:
        """Return an update as bytes; see `Method.encode`."""
        del memory, rng
        arrays = check_update(update, schema)
        for spec in schema.level_tensors:
            is_finite = np.isfinite(arrays[spec.name])
            if not is_finite.all():
                index = tuple(int(i) for i in np.argwhere(~is_finite)[0])
                raise NonFiniteError(spec.name, index, float(arrays[spec.name][index]))
        floats = Schema(schema.level_tensors)
        if self.byte_planes:
            frame = pack_planes(arrays, floats)
        else:
            raw = b"".join(
                arrays[spec.name].astype(_stored_dtype(spec.dtype)).tobytes()
                for spec in floats.tensors
            )
            frame = squeeze(raw, 3 if self.level is None else self.level)
        return join_exact(arrays, schema) + frame, {}

    def decode(
        self, payload: bytes, schema: Schema, memory: Mapping[str, Any]
    ) -> tuple[dict[str, NDArray[Any]], Memory]:
        """Return the update that bytes stand for; see `Method.decode`."""
        del memory
        reader = PayloadReader(payload)
        exact = read_exact(reader, schema)
        floats = Schema(schema.level_tensors)
        if self.byte_planes:
            decoded = dict(unpack_planes(reader.rest(), floats))
        else:
            raw = PayloadReader(unsqueeze(reader.rest(), at_most=floats.raw_bytes, what="floats"))
            decoded = {}
            for spec in floats.tensors:
                stored = np.frombuffer(
                    raw.take(spec.raw_bytes, "floats"), _stored_dtype(spec.dtype)
                )
                decoded[spec.name] = stored.astype(spec.dtype).reshape(spec.shape)
            raw.finish()
        if not all(np.isfinite(array).all() for array in decoded.values()):
            reader.refuse("floats", expected="finite numbers", found="others")
        return {spec.name: (exact | decoded)[spec.name] for spec in schema.tensors}, {}


def _n_values(schema: Schema) -> int:
    return sum(spec.n_elements for spec in schema.level_tensors)


def _stored_dtype(dtype: str) -> np.dtype[Any]:
    return np.dtype(dtype).newbyteorder("<")
