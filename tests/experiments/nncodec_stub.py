# SPDX-License-Identifier: Apache-2.0
"""A stand-in for an interpreter with NNCodec: tests make it executable under another name.

It answers the look for NNCodec, and runs the worker with a module in the place of NNCodec that
rounds to whole steps. Values tell it to misbehave: 666 to refuse, 999 to die.
"""

from __future__ import annotations

import os
import runpy
import sys
import types
from typing import Any

import numpy as np

REFUSES, DIES = 666.0, 999.0


def compress(tensors: dict[str, Any], *, qp: int, approx_param_base: Any, **_: Any) -> bytes:
    """Return levels, less those before, each as one int32."""
    sys.stdout.write("NNCodec prints\n")
    sys.stdout.flush()
    step = 2.0 ** (qp / 4)
    parts = [np.array([qp, len(approx_param_base["parameters"])], "<i4")]
    for name, tensor in tensors.items():
        if (tensor == REFUSES).any():
            raise SystemExit("this will not do")
        if (tensor == DIES).any():
            sys.stderr.write("a last word\n")
            sys.stderr.flush()
            os._exit(3)
        before = approx_param_base["parameters"].get(name, 0)
        parts.append((np.rint(tensor / step).astype("<i4") - before).reshape(-1))
    return np.concatenate(parts).astype("<i4").tobytes()


def decompress(bitstream: bytearray, *, approx_param_base: Any, update_base_param: bool) -> Any:
    """Return values, and put levels into the base."""
    assert isinstance(bitstream, bytearray)
    assert update_base_param
    coded = np.frombuffer(bytes(bitstream), "<i4")
    (qp, n_before), levels = coded[:2], coded[2:].astype(np.int64)
    base = approx_param_base
    if n_before != len(base["parameters"]):
        raise ValueError("bases differ")
    if not base["parameters"]:
        base["parameters"] = {"0": np.zeros((3, 4), int), "1": np.zeros(2, int)}
    begin = 0
    for name, before in base["parameters"].items():
        own = levels[begin : begin + before.size].reshape(before.shape) + before
        begin += before.size
        base["parameters"][name] = own.astype(np.int32)
        base["put_node_depth"][name] = base["put_node_depth"].get(name, 0) + 1
    return {name: own * 2.0 ** (qp / 4) for name, own in base["parameters"].items()}


def main() -> None:
    """Do as the interpreter would."""
    assert sys.argv[1] == "-I"
    if sys.argv[2] == "-c":
        sys.exit(0)
    nncodec: Any = types.ModuleType("nncodec")
    nncodec.nnc = types.SimpleNamespace(compress=compress, decompress=decompress)
    sys.modules["nncodec"] = nncodec
    runpy.run_path(sys.argv[2], run_name="__main__")


if __name__ == "__main__":
    main()
