# SPDX-License-Identifier: Apache-2.0
"""Packages that are absent, whether they are or not."""

from __future__ import annotations

import builtins
from typing import Any

import pytest


def hide(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every import of a package fail as if it were not installed."""
    import_as_ever = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".", maxsplit=1)[0] == package:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return import_as_ever(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
