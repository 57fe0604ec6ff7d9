# SPDX-License-Identifier: Apache-2.0
"""Values in a checkpoint file: a ZIP archive, stored, of one manifest and of blobs.

The manifest is JSON and refers to blobs, the content of arrays and bytes, by their BLAKE2b digest,
which is their name in the archive: equal content is there once. Invariants: what is read is what
was written, or reading raises; nothing in a file can run code, and no more is allocated than the
file is long.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, TypeAlias

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord

from fl_deepcabac.errors import CheckpointError, UnsupportedVersionError

__all__ = ["CHECKPOINT_VERSION", "CheckpointReader", "CheckpointWriter", "Json", "encode_value"]

CHECKPOINT_VERSION: Final = 1
FORMAT_NAME: Final = "fl_deepcabac checkpoint"
MANIFEST_NAME: Final = "manifest.json"
BLOB_FOLDER: Final = "blobs/"
# Shorter bytes stand in the manifest itself.
MAX_INLINE_BYTES: Final = 64
# Of arrays: numbers and truth values. Objects would have to be pickled.
DTYPE_KINDS: Final = "biufc"
# What Python's reader of archives raises for damaged ones; offsets beyond the file are OSErrors.
ARCHIVE_FAULTS: Final = (
    zipfile.BadZipFile,
    EOFError,
    KeyError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
)

Json: TypeAlias = Any
# Takes a blob and returns its name.
Keep: TypeAlias = Callable[[bytes], str]


def encode_value(value: object, keep: Keep) -> Json:
    """Turn a value into JSON that refers to blobs.

    Parameters
    ----------
    value : object
        None, a bool, number, str or bytes; an array or scalar of NumPy; a list, tuple, dict or
        record of Flower that holds only such.
    keep : callable
        Takes a blob and returns its name.

    Returns
    -------
    object
        For ``json.dumps``. Inverse: `CheckpointReader.decode`.

    Raises
    ------
    TypeError
        If there is no rule for the value.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    # Of derived classes only NumPy's are known to hold no more than their base does.
    kind: type = next((base for base in _NUMPY if isinstance(value, base)), type(value))
    if kind not in _ENCODERS:
        raise TypeError(f"expected plain values and arrays, found {type(value).__name__}")
    name, encode = _ENCODERS[kind]
    return {name: encode(value, keep)}


def _encode_bytes(value: bytes, keep: Keep) -> Json:
    return ["", value.hex()] if len(value) <= MAX_INLINE_BYTES else [keep(value)]


def _encode_numpy(value: np.ndarray[Any, Any] | np.generic, keep: Keep) -> Json:
    if value.dtype.kind not in DTYPE_KINDS:
        raise TypeError(f"expected numbers or truth values, found dtype {value.dtype}")
    return [value.dtype.str, list(value.shape), keep(value.tobytes())]


def _encode_items(value: list[Any] | tuple[Any, ...], keep: Keep) -> Json:
    return [encode_value(item, keep) for item in value]


def _encode_pairs(value: Mapping[Any, Any], keep: Keep) -> Json:
    return [[encode_value(key, keep), encode_value(own, keep)] for key, own in value.items()]


def _encode_arrays(value: ArrayRecord, keep: Keep) -> Json:
    return [
        [name, array.dtype, list(array.shape), array.stype, keep(array.data)]
        for name, array in value.items()
    ]


_NUMPY: Final = (np.generic, np.ndarray)
_ENCODERS: Final[dict[type, tuple[str, Callable[[Any, Keep], Json]]]] = {
    float: ("float", lambda value, _: value.hex()),
    bytes: ("bytes", _encode_bytes),
    np.ndarray: ("array", _encode_numpy),
    np.generic: ("scalar", _encode_numpy),
    list: ("list", _encode_items),
    tuple: ("tuple", _encode_items),
    dict: ("dict", _encode_pairs),
    ArrayRecord: ("ArrayRecord", _encode_arrays),
    MetricRecord: ("MetricRecord", _encode_pairs),
    ConfigRecord: ("ConfigRecord", _encode_pairs),
}


class CheckpointWriter:
    """Writes blobs as they come, and the manifest in the end; a context manager.

    Parameters
    ----------
    file : file
        Open for writing and seeking.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._archive = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED)
        self._names: set[str] = set()

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # An archive that is left open is closed by the garbage collector: too late for its file,
        # and with a traceback on the standard error.
        with suppress(OSError):
            self._archive.close()

    def keep(self, blob: bytes) -> str:
        """Write a blob, unless it is there, and return its name."""
        if (name := _name_of(blob)) not in self._names:
            self._names.add(name)
            self._archive.writestr(zipfile.ZipInfo(BLOB_FOLDER + name), blob)
        return name

    def encode(self, value: object) -> Json:
        """Write the blobs of a value and return the rest; see `encode_value`."""
        return encode_value(value, self.keep)

    def finish(self, sections: Mapping[str, Json]) -> None:
        """Write the manifest: the file is whole."""
        manifest = {"format": FORMAT_NAME, "version": CHECKPOINT_VERSION, **sections}
        text = json.dumps(manifest, separators=(",", ":"), allow_nan=False)
        self._archive.writestr(zipfile.ZipInfo(MANIFEST_NAME), text.encode())
        self._archive.close()


class CheckpointReader:
    """A checkpoint file, open for reading; a context manager.

    Parameters
    ----------
    path : Path

    Raises
    ------
    OSError
        If the file cannot be read.
    CheckpointError
        If it is no checkpoint, or not whole.
    UnsupportedVersionError
        If a newer version has written it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._n_bytes = path.stat().st_size
        try:
            self._archive = zipfile.ZipFile(path)
        except ARCHIVE_FAULTS as error:
            raise self.corrupt("a ZIP archive, whole", error) from None
        try:
            self.sections = self._read_manifest()
        except BaseException:
            self._archive.close()
            raise

    def __enter__(self) -> CheckpointReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._archive.close()

    def _read_manifest(self) -> dict[str, Json]:
        text = self._read(MANIFEST_NAME)
        try:
            manifest = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self.corrupt("a manifest in JSON", error) from None
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT_NAME:
            raise self.corrupt(f"the manifest of a {FORMAT_NAME}", "another")
        version = manifest.get("version")
        if type(version) is not int or version < 1:
            raise self.corrupt("a version from 1 on", version)
        if version > CHECKPOINT_VERSION:
            raise UnsupportedVersionError(found=version, supported=CHECKPOINT_VERSION)
        return manifest

    def corrupt(self, expected: str, found: object) -> CheckpointError:
        """Return the error for what is not as it should be."""
        return CheckpointError(str(self.path), expected=expected, found=found)

    def _read(self, name: str) -> bytes:
        """Return a member of the archive."""
        try:
            member = self._archive.getinfo(name)
            if member.compress_type != zipfile.ZIP_STORED or member.file_size > self._n_bytes:
                raise zipfile.BadZipFile(f"{member.file_size} bytes, or compressed ones")
            return self._archive.read(member)
        except ARCHIVE_FAULTS as error:
            raise self.corrupt(f"{name}, stored", error) from None

    def blob(self, name: object) -> bytes:
        """Return a blob by its name."""
        content = self._read(f"{BLOB_FOLDER}{name}")
        if (found := _name_of(content)) != name:
            raise self.corrupt(f"blob {name}", f"the content of {found}")
        return content

    def decode(self, encoded: Json) -> Any:
        """Return the value that `encode_value` was given.

        Raises
        ------
        CheckpointError
            If the JSON is none of `encode_value`, or a blob is missing or damaged.
        """
        try:
            return self._decode(encoded)
        except (KeyError, TypeError, ValueError, RecursionError, OverflowError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise self.corrupt("values as this version writes them", error) from None

    def _decode(self, encoded: Json) -> Any:
        if not isinstance(encoded, dict):
            return encoded
        [(kind, content)] = encoded.items()
        decoders: dict[str, Callable[[Any], Any]] = {
            "float": float.fromhex,
            "bytes": self._decode_bytes,
            "array": self._decode_array,
            "scalar": lambda content: self._decode_array(content)[()],
            "list": lambda content: [self._decode(item) for item in content],
            "tuple": lambda content: tuple(self._decode(item) for item in content),
            "dict": self._decode_pairs,
            "ArrayRecord": self._decode_record,
            "MetricRecord": lambda content: MetricRecord(self._decode_pairs(content)),
            "ConfigRecord": lambda content: ConfigRecord(self._decode_pairs(content)),
        }
        return decoders[kind](content)

    def _decode_bytes(self, content: list[str]) -> bytes:
        name, *inline = content
        return bytes.fromhex(*inline) if inline else self.blob(name)

    def _decode_pairs(self, content: list[list[Json]]) -> dict[Any, Any]:
        return {self._decode(key): self._decode(value) for key, value in content}

    def _decode_array(self, content: tuple[str, list[int], str]) -> np.ndarray[Any, Any]:
        dtype, shape, name = content
        kind = np.dtype(dtype)
        if kind.kind not in DTYPE_KINDS:
            raise ValueError(f"dtype {dtype!r}")
        # A copy, because strategies work in place.
        return np.frombuffer(self.blob(name), kind).reshape(tuple(shape)).copy()

    def _decode_record(self, content: list[tuple[str, str, list[int], str, str]]) -> ArrayRecord:
        record = ArrayRecord()
        for name, dtype, shape, stype, blob in content:
            record[name] = Array(dtype, tuple(shape), stype, self.blob(blob))
        return record


def _name_of(blob: bytes) -> str:
    return hashlib.blake2b(blob, digest_size=32).hexdigest()
