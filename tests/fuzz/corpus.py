# SPDX-License-Identifier: Apache-2.0
"""Inputs to begin with, kept in the repository: a folder a target."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

__all__ = ["CORPUS", "DICTIONARY", "read_corpus", "read_dictionary"]

HERE = Path(__file__).resolve().parent
CORPUS = HERE / "corpus"
DICTIONARY = HERE / "fl_deepcabac.dict"


@cache
def read_corpus(target: str) -> dict[str, bytes]:
    """Return the inputs of a target by the names of their files."""
    paths = sorted((CORPUS / target).iterdir())
    return {path.name: path.read_bytes() for path in paths}


@cache
def read_dictionary() -> tuple[bytes, ...]:
    """Return the tokens of the dictionary, which is in libFuzzer's form."""
    text = DICTIONARY.read_text(encoding="ascii")
    quoted = re.findall(r'^\w*=?("(?:[^"\\]|\\.)+")$', text, flags=re.MULTILINE)
    return tuple(ast.literal_eval(f"b{token}") for token in quoted)
