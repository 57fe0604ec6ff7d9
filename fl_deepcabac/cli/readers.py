# SPDX-License-Identifier: Apache-2.0
"""Readers of single arguments: from text to a value, or to a complaint of one line."""

from __future__ import annotations

import argparse
from collections.abc import Callable

__all__ = ["integer", "listed", "number", "one_of", "override"]


def listed(names: tuple[str, ...]) -> str:
    """Write a choice for the help."""
    return f"{', '.join(names[:-1])} or {names[-1]}"


def one_of(names: tuple[str, ...]) -> Callable[[str], str]:
    """Return a reader of one of the names."""

    def read(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"expected {listed(names)}, found {text!r}")
        return text

    return read


def integer(text: str) -> int:
    """Read an integer."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected an integer, found {text!r}") from None


def number(text: str) -> float:
    """Read a number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, found {text!r}") from None


def override(text: str) -> tuple[str, float]:
    """Read a pattern and a factor; names may hold an equals sign."""
    pattern, _, factor = text.rpartition("=")
    try:
        return pattern, float(factor)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected PATTERN=FACTOR, found {text!r}") from None
