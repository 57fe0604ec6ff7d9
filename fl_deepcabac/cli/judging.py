# SPDX-License-Identifier: Apache-2.0
"""The user's own function, found by name, whose mistakes end in one line."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fl_deepcabac.errors import DeepCabacError

__all__ = ["JudgeError", "judge_named"]


class JudgeError(DeepCabacError, ValueError):
    """A function to evaluate with is not where its name says, or fails."""


@contextmanager
def judge_named(name: str) -> Iterator[Callable[[dict[str, Any]], Any]]:
    """Yield the function that ``module:function`` names.

    Parameters
    ----------
    name : str
        Modules are looked for in the current folder, too, also by the function itself.

    Raises
    ------
    JudgeError
        If there is none, or, when it is called, it raises anything.
    """
    module_name, _, function_name = name.removeprefix("python:").partition(":")
    if "/" in module_name or module_name.endswith(".py"):
        hint = f"{Path(module_name).stem}:{function_name or 'FUNCTION'}, run in its folder"
        raise JudgeError(f"--search: expected a module, {hint}, found the path {module_name!r}")
    if not module_name or not function_name:
        raise JudgeError(f"--search: expected MODULE:FUNCTION, found {name!r}")
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield _find(module_name, function_name)
    finally:
        sys.path.remove(folder)


def _find(module_name: str, function_name: str) -> Callable[[dict[str, Any]], Any]:
    """Return the function, which complains in one line."""
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's code does when it is imported
        raise JudgeError(
            f"--search: expected a module {module_name!r} that can be imported, found "
            f"{type(error).__name__}: {error}"
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise JudgeError(
            f"--search: expected a function {function_name!r} in {module_name!r}, found none"
        )

    def judge(weights: dict[str, Any]) -> Any:
        try:
            return function(weights)
        except Exception as error:  # whatever the user's code does
            place = traceback.extract_tb(error.__traceback__)[-1]
            raise JudgeError(
                f"--search: expected an accuracy of {module_name}:{function_name}, found "
                f"{type(error).__name__}: {error} ({place.filename}:{place.lineno})"
            ) from error

    # The log of a search names what judged.
    judge.__module__, judge.__qualname__ = module_name, function_name
    return judge
