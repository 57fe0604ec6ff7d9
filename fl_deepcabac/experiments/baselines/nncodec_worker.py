# SPDX-License-Identifier: Apache-2.0
"""The other end of `nncodec`: a program for an interpreter that has NNCodec, and not this package.

It reads requests from standard input and writes answers to standard output, each a length, the
length of a JSON head, that head, and arrays end to end (little-endian). A request that fails is
answered with the reason. Invariant: it keeps nothing from one request to the next.
"""

from __future__ import annotations

import json
import math
import os
import struct
import sys
from typing import IO, Any

__all__ = ["main", "read_message", "write_message"]

LENGTHS = struct.Struct("<QI")


def read_message(stream: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """Return head and arrays of the next message; None where the stream ends."""
    lengths = stream.read(LENGTHS.size)
    if len(lengths) < LENGTHS.size:
        return None
    n_bytes, head_bytes = LENGTHS.unpack(lengths)
    body = stream.read(n_bytes)
    if len(body) < n_bytes:
        return None
    return json.loads(body[:head_bytes]), body[head_bytes:]


def write_message(stream: IO[bytes], head: dict[str, Any], arrays: bytes) -> None:
    """Write one message."""
    text = json.dumps(head).encode()
    stream.write(LENGTHS.pack(len(text) + len(arrays), len(text)) + text + arrays)
    stream.flush()


def main() -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "wb")
    # NNCodec prints.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    while (message := read_message(sys.stdin.buffer)) is not None:
        try:
            head, arrays = _answer(*message)
        # NNCodec raises SystemExit over what it does not like.
        except (Exception, SystemExit) as error:
            head, arrays = {"error": f"{type(error).__name__}: {error}"}, b""
        write_message(answers, head, arrays)


def _answer(head: dict[str, Any], arrays: bytes) -> tuple[dict[str, Any], bytes]:
    """Encode or decode; both answer with decoded values and with the base for what comes next."""
    import numpy as np  # noqa: PLC0415 (that of the other interpreter)
    from nncodec import nnc  # noqa: PLC0415

    names = [str(i) for i in range(len(head["shapes"]))]
    shapes = dict(zip(names, map(tuple, head["shapes"]), strict=True))

    def split(joined: bytes, dtype: str) -> dict[str, Any]:
        flat, begin, tensors = np.frombuffer(joined, dtype), 0, {}
        for name, shape in shapes.items():
            end = begin + math.prod(shape)
            tensors[name] = flat[begin:end].reshape(shape).copy()
            begin = end
        return tensors

    def join(tensors: dict[str, Any], dtype: str) -> bytes:
        # NNCodec leaves out tensors whose levels are all zero.
        return b"".join(
            np.asarray(tensors.get(name, np.zeros(shape)), dtype).tobytes()
            for name, shape in shapes.items()
        )

    depths = {name: depth for name, depth in zip(names, head["depths"], strict=True) if depth}
    n_base_bytes = 4 * sum(map(math.prod, shapes.values())) if depths else 0
    levels = split(arrays[:n_base_bytes], "<i4") if depths else {}
    base: dict[str, Any] = {
        "device_id": 0,
        "parameters": {name: levels[name] for name in depths},
        "put_node_depth": depths,
        "parameter_id": {name: int(name) for name in depths},
    }
    bitstream = arrays[n_base_bytes:]
    if head["action"] == "encode":
        always = {"bitstream_path": None, "return_bitstream": True, "compress_differences": True}
        tensors = split(bitstream, "<f4")
        bitstream = bytes(
            nnc.compress(tensors, device_id=0, approx_param_base=base, **always, **head["settings"])
        )
    decoded = nnc.decompress(bytearray(bitstream), approx_param_base=base, update_base_param=True)
    facts = {
        "bitstream_bytes": len(bitstream),
        "depths": [int(base["put_node_depth"].get(name, 0)) for name in names],
    }
    return facts, bitstream + join(decoded, "<f4") + join(base["parameters"], "<i4")


if __name__ == "__main__":
    main()
