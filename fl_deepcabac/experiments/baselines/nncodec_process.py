# SPDX-License-Identifier: Apache-2.0
"""The process that runs NNCodec: started when it is first asked, and again after it has died."""

from __future__ import annotations

import math
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.experiments.baselines.nncodec_worker import read_message, write_message

__all__ = ["Base", "Coded", "NnCodecProcess", "WorkerError", "shared_process"]

WORKER: Final = Path(__file__).with_name("nncodec_worker.py")
# Of what a process said before it died.
REASON_CHARACTERS: Final = 300


class WorkerError(Exception):
    """NNCodec refused a request, or its process died over it."""


@dataclass(frozen=True)
class Base:
    """What temporal contexts build on: the levels of the updates before, end to end.

    `depths` says how many there were of each tensor; 0 where all levels have been zero so far.
    """

    levels: NDArray[np.int32]
    depths: NDArray[np.int64]


@dataclass(frozen=True)
class Coded:
    """An update as NNCodec has it: bytes, the values they stand for, the base of the next."""

    bitstream: bytes
    values: NDArray[np.float32]
    base: Base


@cache
def shared_process(python: str) -> NnCodecProcess:
    """Return the process of an interpreter, the same one to all who ask.

    Starting it takes seconds, and Flower's engine makes a new copy of a mod for each message. It
    keeps nothing from one request to the next, so that nobody notices the others.
    """
    return NnCodecProcess(python)


class NnCodecProcess:
    """NNCodec in an interpreter of its own; see `shared_process`.

    Parameters
    ----------
    python : str
        The interpreter.
    """

    def __init__(self, python: str) -> None:
        self.python = python
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Callable[[str], NnCodecProcess], tuple[str]]:
        return shared_process, (self.python,)

    def encode(
        self,
        values: NDArray[np.float32],
        shapes: Sequence[tuple[int, ...]],
        settings: dict[str, Any],
        base: Base | None,
    ) -> Coded:
        """Encode the tensors of these shapes, end to end in `values`.

        Raises
        ------
        WorkerError
        """
        head = {"action": "encode", "settings": settings}
        return self._ask(head, values.astype("<f4").tobytes(), shapes, base)

    def decode(
        self,
        bitstream: bytes,
        shapes: Sequence[tuple[int, ...]],
        base: Base | None,
    ) -> Coded:
        """Decode what `encode` made, given the same base.

        Raises
        ------
        WorkerError
        """
        return self._ask({"action": "decode"}, bitstream, shapes, base)

    def _ask(
        self,
        head: dict[str, Any],
        body: bytes,
        shapes: Sequence[tuple[int, ...]],
        base: Base | None,
    ) -> Coded:
        """Put a question and wait for its answer."""
        head |= {"shapes": shapes, "depths": [0] * len(shapes)}
        if base is not None and base.depths.any():
            head["depths"] = base.depths.tolist()
            body = base.levels.astype("<i4").tobytes() + body
        with self._lock:
            process = self._running()
            try:
                assert process.stdin is not None
                assert process.stdout is not None
                write_message(process.stdin, head, body)
                answer = read_message(process.stdout)
            except OSError:
                answer = None
            if answer is None:
                raise WorkerError(self._why_it_died())
        facts, arrays = answer
        if "error" in facts:
            raise WorkerError(facts["error"])
        n = sum(map(math.prod, shapes))
        begin = facts["bitstream_bytes"]
        # Of another size where a bitstream is another model's.
        if len(arrays) != begin + 8 * n:
            raise WorkerError(f"expected {n} values, found others")
        values = np.frombuffer(arrays, "<f4", n, offset=begin).astype(np.float32)
        levels = np.frombuffer(arrays, "<i4", n, offset=begin + 4 * n).astype(np.int32)
        return Coded(arrays[:begin], values, Base(levels, np.array(facts["depths"])))

    def _running(self) -> subprocess.Popen[bytes]:
        """Return the process; start it if there is none."""
        if self._process is None:
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
            # Isolated: names of our modules must not stand in for those that NNCodec imports.
            self._process = subprocess.Popen(
                [self.python, "-I", str(WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
            )
            weakref.finalize(self, _end, self._process, self._errors)
        return self._process

    def _why_it_died(self) -> str:
        """Return the last words of a process that answers no more, and forget it."""
        assert self._process is not None
        assert self._errors is not None
        self._process.kill()
        code = self._process.wait()
        self._errors.seek(0)
        words = " ".join(self._errors.read().decode(errors="replace").split())
        _end(self._process, self._errors)
        self._process = None
        return f"its process ended with code {code}: {words[-REASON_CHARACTERS:]}"


def _end(process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
    """End a process by closing its input, and let go of its files."""
    for stream in (process.stdin, process.stdout, errors):
        if stream is not None and not stream.closed:
            try:
                stream.close()
            except OSError:
                continue
    process.kill()
    process.wait()
