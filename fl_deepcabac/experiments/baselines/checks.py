# SPDX-License-Identifier: Apache-2.0
"""Checks of settings: each looks at one field of a frozen dataclass and raises `SettingsError`."""

from __future__ import annotations

import math
import numbers
from typing import Any

from fl_deepcabac.experiments.settings import SettingsError

__all__ = ["require_bool", "require_integer", "require_name", "require_number"]


def require_bool(settings: Any, field: str) -> None:
    """Check that a field is a bool."""
    value = getattr(settings, field)
    if not isinstance(value, bool):
        raise SettingsError(field, expected="a bool", found=value)


def require_integer(settings: Any, field: str, low: int, high: int) -> None:
    """Check that a field is an integer in [low, high]."""
    value = getattr(settings, field)
    if type(value) is not int or not low <= value <= high:
        raise SettingsError(field, expected=f"an integer in [{low}, {high}]", found=value)


def require_number(settings: Any, field: str, low: float, high: float) -> None:
    """Store a field as a float in [low, high]."""
    value = getattr(settings, field)
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not low <= value <= high:
        raise SettingsError(field, expected=f"a number in [{low:g}, {high:g}]", found=value)
    object.__setattr__(settings, field, float(value))


def require_name(settings: Any, field: str, names: tuple[str, ...]) -> None:
    """Check that a field is one of some names."""
    value = getattr(settings, field)
    if value not in names:
        raise SettingsError(field, expected=f"one of {', '.join(names)}", found=value)
