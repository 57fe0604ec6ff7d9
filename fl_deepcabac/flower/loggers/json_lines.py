# SPDX-License-Identifier: Apache-2.0
"""A file with one JSON object for each phase of each round; no other package needed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

__all__ = ["JsonLinesLogger"]


class JsonLinesLogger:
    """Appends a line for each phase of a round: ``{"server_round": 1, "train/loss": 0.7, ...}``.

    Parameters
    ----------
    path : str or Path
        Appended to if it exists, as a run that goes on wants it.

    Raises
    ------
    OSError
        If it cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path).absolute()
        self._append("")

    def log_round(self, server_round: int, values: Mapping[str, float]) -> None:
        """Append a line; what JSON has no number for, NaN and infinity, becomes null."""
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._append(json.dumps({"server_round": server_round, **finite}) + "\n")

    def close(self) -> None:
        """Do nothing: the file is open only while a line is written."""

    def _append(self, text: str) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(text)
