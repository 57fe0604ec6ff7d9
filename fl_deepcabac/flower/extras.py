# SPDX-License-Identifier: Apache-2.0
"""Packages that only some users need: an import that fails names the extra that brings them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["needs_extra"]


@contextmanager
def needs_extra(name: str) -> Iterator[None]:
    """Let imports within say which extra of this package is missing.

    Parameters
    ----------
    name : str
        Of the extra in ``pyproject.toml``.

    Raises
    ------
    ModuleNotFoundError
        In place of the one that an import raises; its `name` stays that of the absent package.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"expected the Python package {error.name!r}, found none; "
            f"pip install 'fl-deepcabac[{name}]' installs it",
            name=error.name,
        ) from error
