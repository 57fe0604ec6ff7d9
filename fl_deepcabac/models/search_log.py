# SPDX-License-Identifier: Apache-2.0
"""What a search has evaluated, in memory and in a file, so that nothing is evaluated twice.

    one JSON object a line: first what is searched and the accuracy before, then each point

Invariants: a line is appended whole and flushed before the search goes on; a last line cut short by
a kill is dropped; a file about another model or other settings is refused, not overwritten.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.atomic_file import write_atomically
from fl_deepcabac.models.search_result import SearchError, SearchPoint

__all__ = ["SearchLog", "name_arrays"]

_VERSION: Final = 1
_FIELDS: Final = {entry.name: str(entry.type) for entry in fields(SearchPoint)}


def name_arrays(*groups: Mapping[str, NDArray[np.generic]]) -> str:
    """Name arrays by what they are called and hold.

    Parameters
    ----------
    *groups : mapping of str to ndarray
        Such as weights, and their importance.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=16)
    for arrays in groups:
        digest.update(len(arrays).to_bytes(8, "little"))
        for name, array in sorted(arrays.items()):
            digest.update(repr((name, array.dtype.str, array.shape)).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


class SearchLog:
    """The points of one search, in the order in which they came.

    Parameters
    ----------
    path : Path or None
        Gone on with where it is there. None keeps points in memory only.
    subject : str
        Names what is searched: weights, method and settings.
    evaluate_before : callable
        Returns the accuracy of the weights as they are; called where the file does not say it.

    Raises
    ------
    SearchError
        If the file is about something else, or is none of a search.
    OSError
        If it cannot be read or written.
    """

    def __init__(
        self, path: Path | None, subject: str, evaluate_before: Callable[[], float]
    ) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._points: dict[tuple[float, float], SearchPoint] = {}
        if path is not None and path.exists():
            self.accuracy_before = self._read(path, subject)
            return
        self.accuracy_before = evaluate_before()
        if path is not None:
            head = {"search": _VERSION, "subject": subject, "accuracy": self.accuracy_before}
            write_atomically(path, _line(head).encode())

    @property
    def points(self) -> tuple[SearchPoint, ...]:
        """All points, those of earlier processes first."""
        return tuple(self._points.values())

    def get(self, coarseness: float, rd_lambda: float) -> SearchPoint | None:
        """Return a point that was evaluated before, in this or an earlier process."""
        return self._points.get((coarseness, rd_lambda))

    def add(self, point: SearchPoint) -> None:
        """Keep another point."""
        with self._lock:
            self._points[point.coarseness, point.rd_lambda] = point
            if self._path is not None:
                with self._path.open("a", encoding="utf-8") as stream:
                    stream.write(_line(asdict(point)))

    def _read(self, path: Path, subject: str) -> float:
        """Read what an earlier process left; return the accuracy before."""
        head, *lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
        values = _values(head)
        accuracy: Any = values.get("accuracy")
        if values.get("search") != _VERSION or not _is_number(accuracy):
            raise SearchError(f"{path}: expected the log of a search, found another file")
        if values.get("subject") != subject:
            raise SearchError(
                f"{path}: expected a search of the same weights with the same settings, "
                "found another; name another file"
            )
        for number, line in enumerate(lines[:-1], start=2):
            point = _values(line)
            if point.keys() != _FIELDS.keys() or not all(map(_is_number, point.values())):
                raise SearchError(f"{path}: expected a point in line {number}, found {line[:60]!r}")
            found = SearchPoint(**{**point, "n_bytes": int(point["n_bytes"])})
            self._points[found.coarseness, found.rd_lambda] = found
        if lines and lines[-1]:
            # What was being written when the process was killed.
            write_atomically(path, "".join(f"{line}\n" for line in [head, *lines[:-1]]).encode())
        return float(accuracy)


def _line(values: dict[str, Any]) -> str:
    return json.dumps(values, allow_nan=False) + "\n"


def _values(line: str) -> dict[str, Any]:
    """Return the object of one line; an empty one where there is none."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _is_number(value: object) -> bool:
    return type(value) in {int, float} and math.isfinite(float(str(value)))
