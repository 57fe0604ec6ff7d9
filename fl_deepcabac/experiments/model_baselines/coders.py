# SPDX-License-Identifier: Apache-2.0
"""Lossless coders of one tensor's symbols, small whole numbers: every byte a decoder needs counts.

    one byte     which coder
    its bytes    a table of the symbols that occur, if it needs one, and the symbols

References
----------
.. [1] S. Han, H. Mao and W. J. Dally, "Deep Compression", ICLR 2016: sparse rows, with Huffman
   codes of values and of the gaps between them.
.. [2] J. Seward, "bzip2 and libbzip2", 1996.
"""

from __future__ import annotations

import bz2
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.errors import CorruptPacketError
from fl_deepcabac.experiments.baselines.bits import BitReader, BitWriter
from fl_deepcabac.experiments.baselines.huffman import code_lengths, read_symbols, write_symbols
from fl_deepcabac.experiments.baselines.payload import PayloadReader, write_varints

__all__ = ["CODERS", "decode", "encode", "entropy_bits"]

Symbols = NDArray[np.int64]
_LENGTH_BITS: Final = 4
_MOST_VARINT_BYTES: Final = 5
_MOST_BITS: Final = 32


def encode(symbols: Symbols, shape: tuple[int, int]) -> bytes:
    """Return the symbols of a matrix in the smallest of the codes.

    Parameters
    ----------
    symbols : ndarray, int64, shape (n,)
        Row by row.
    shape : tuple of int
        Rows and columns.

    Returns
    -------
    bytes
    """
    coded = [
        bytes([number]) + write(symbols, shape) for number, (write, _) in enumerate(CODERS.values())
    ]
    return min(coded, key=len)


def decode(encoded: bytes, shape: tuple[int, int]) -> Symbols:
    """Return the symbols that `encode` coded.

    Raises
    ------
    CorruptPacketError, TruncatedPacketError
        If the bytes are no code of so many symbols.
    """
    reader = PayloadReader(encoded)
    number = reader.take(1, "coder")[0]
    if number >= len(CODERS):
        reader.refuse("coder", expected=f"a number below {len(CODERS)}", found=number)
    _, read = list(CODERS.values())[number]
    return read(reader, shape)


def entropy_bits(symbols: Symbols) -> float:
    """Return the zero-order entropy of all symbols together, without any table. Unit: bits."""
    _, counts = np.unique(symbols, return_counts=True)
    return float(-(counts * np.log2(counts / symbols.size)).sum()) if symbols.size else 0.0


def _write_huffman(symbols: Symbols, shape: tuple[int, int]) -> bytes:
    """Write a table and one code a symbol."""
    del shape
    return _write_list(symbols)


def _read_huffman(reader: PayloadReader, shape: tuple[int, int]) -> Symbols:
    return _read_list(reader, shape[0] * shape[1])


def _write_csr(symbols: Symbols, shape: tuple[int, int]) -> bytes:
    """Write how many symbols of each row are not zero, the gaps before them, and them [1]_."""
    matrix = symbols.reshape(shape)
    rows, columns = np.nonzero(matrix)
    is_first = np.diff(rows, prepend=-1) != 0
    gaps = np.diff(columns, prepend=0) - 1
    gaps[is_first] = columns[is_first]
    counts = np.bincount(rows, minlength=shape[0])
    return b"".join(map(_write_list, (counts, gaps, matrix[rows, columns])))


def _read_csr(reader: PayloadReader, shape: tuple[int, int]) -> Symbols:
    counts = _read_list(reader, shape[0])
    if counts.min(initial=0) < 0 or counts.max(initial=0) > shape[1]:
        reader.refuse("row", expected=f"at most {shape[1]} values", found=int(counts.max()))
    n = int(counts.sum())
    gaps, values = _read_list(reader, n), _read_list(reader, n)
    rows = np.repeat(np.arange(shape[0]), counts)
    ends = np.cumsum(gaps + 1)
    before = np.concatenate([[0], ends])[np.cumsum(counts) - counts]
    columns = ends - 1 - before[rows]
    if n and (gaps.min() < 0 or columns.max() >= shape[1]):
        reader.refuse("gap", expected=f"columns below {shape[1]}", found="others")
    matrix = np.zeros(shape, np.int64)
    matrix[rows, columns] = values
    return matrix.reshape(-1)


def _write_bzip2(symbols: Symbols, shape: tuple[int, int]) -> bytes:
    """Write the symbols in one or more bytes each, the planes one after the other."""
    del shape
    low = int(symbols.min(initial=0))
    width = max(1, -(-int(symbols.max(initial=0) - low).bit_length() // 8))
    planes = (symbols - low).astype("<u4").view(np.uint8).reshape(-1, 4)[:, :width]
    body = bz2.compress(np.ascontiguousarray(planes.T).tobytes())
    return bytes([width]) + write_varints(_zigzag(np.array([low]))) + body


def _read_bzip2(reader: PayloadReader, shape: tuple[int, int]) -> Symbols:
    n, width = shape[0] * shape[1], reader.take(1, "width")[0]
    low = _unzigzag(_take_varint(reader, "least symbol"))
    if not 1 <= width <= 4:  # noqa: PLR2004 (bytes of a symbol)
        reader.refuse("width", expected="1 to 4 bytes", found=width)
    decompressor = bz2.BZ2Decompressor()
    try:
        planes = decompressor.decompress(reader.rest(), max_length=n * width)
    except OSError as error:
        raise CorruptPacketError("bzip2", 0, expected="its stream", found=error) from None
    if len(planes) != n * width or (not decompressor.eof and n):
        reader.refuse("bzip2", expected=f"{n * width} bytes", found=len(planes))
    words = np.zeros((n, 4), np.uint8)
    words[:, :width] = np.frombuffer(planes, np.uint8).reshape(width, n).T
    return words.reshape(-1).view("<u4").astype(np.int64) + low


def _write_plain(symbols: Symbols, shape: tuple[int, int]) -> bytes:
    """Write the least symbol, the width that all need, and each in so many bits."""
    del shape
    low = int(symbols.min(initial=0))
    width = int(symbols.max(initial=0) - low).bit_length()
    bits = BitWriter()
    if width:
        bits.fields(symbols - low, width)
    return bytes([width]) + write_varints(_zigzag(np.array([low]))) + bits.to_bytes()


def _read_plain(reader: PayloadReader, shape: tuple[int, int]) -> Symbols:
    n, width = shape[0] * shape[1], reader.take(1, "width")[0]
    low = _unzigzag(_take_varint(reader, "least symbol"))
    if width > _MOST_BITS:
        reader.refuse("width", expected=f"at most {_MOST_BITS} bits", found=width)
    bits = BitReader(reader.rest(), "symbols")
    values = bits.fields(n, width) if width else np.zeros(n, np.int64)
    bits.finish()
    return values + low


def _write_list(values: NDArray[np.integer[Any]]) -> bytes:
    """Write a table of the values that occur, and each in Huffman code, to whole bytes."""
    known, indices, counts = np.unique(values, return_inverse=True, return_counts=True)
    lengths = code_lengths(counts)
    head = BitWriter()
    head.fields(lengths, _LENGTH_BITS)
    body = BitWriter()
    write_symbols(body, indices.reshape(-1), lengths)
    coded = body.to_bytes()
    sizes = write_varints(np.array([known.size, len(coded)]))
    return sizes + write_varints(_zigzag(np.diff(known, prepend=0))) + head.to_bytes() + coded


def _read_list(reader: PayloadReader, n: int) -> Symbols:
    n_known, n_coded = _take_varint(reader, "symbols"), _take_varint(reader, "bytes")
    if n_known > n:
        reader.refuse("symbols", expected=f"at most {n}", found=n_known)
    known = np.cumsum([_unzigzag(_take_varint(reader, "symbol")) for _ in range(n_known)])
    n_bytes = -(-n_known * _LENGTH_BITS // 8)
    head = BitReader(reader.take(n_bytes, "code lengths"), "code lengths")
    lengths = head.fields(n_known, _LENGTH_BITS)
    body = BitReader(reader.take(n_coded, "codes"), "codes")
    indices = read_symbols(body, n, lengths)
    body.finish()
    return known.astype(np.int64)[indices] if n else np.zeros(0, np.int64)


def _zigzag(values: Symbols) -> Symbols:
    """Return numbers that are not negative: 0, 1, 2, 3 for 0, -1, 1, -2."""
    return np.where(values >= 0, 2 * values, -2 * values - 1)


def _unzigzag(value: int) -> int:
    return value // 2 if value % 2 == 0 else -(value + 1) // 2


def _take_varint(reader: PayloadReader, what: str) -> int:
    """Read one number of seven bits a byte, the least significant first."""
    value = 0
    for i in range(_MOST_VARINT_BYTES):
        byte = reader.take(1, what)[0]
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:  # noqa: PLR2004 (the radix of the code)
            return value
    raise CorruptPacketError(what, 0, expected="a number of 35 bits", found="a larger one")


Writer = Callable[[Symbols, tuple[int, int]], bytes]
Reader = Callable[[PayloadReader, tuple[int, int]], Symbols]
CODERS: Final[dict[str, tuple[Writer, Reader]]] = {
    "Huffman": (_write_huffman, _read_huffman),
    "CSR-Huffman": (_write_csr, _read_csr),
    "bzip2": (_write_bzip2, _read_bzip2),
    # Vectors are too short for a table.
    "plain": (_write_plain, _read_plain),
}
