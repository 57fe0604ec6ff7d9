# SPDX-License-Identifier: Apache-2.0
"""What `import fl_deepcabac` costs, told by what it loads: modules repeat, milliseconds do not.

Beyond numpy it took 25 ms, where numpy took 140 (docs/benchmarks.md). It stays there while nothing
is loaded but the codec, numpy, zstandard and a few modules of the standard library, all named here,
so that each further one is a decision and no accident. What those load in turn is theirs, and
differs from one Python to the next.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

EXPECTED = ("numpy", "numpy.typing", "zstandard", "__future__")
EXPECTED_OF_STANDARD_LIBRARY = (
    "collections.abc",
    "dataclasses",
    "fnmatch",
    "functools",
    "hashlib",
    "json",
    "math",
    "numbers",
    "re",
    "struct",
    "typing",
    "zlib",
)
# Rooms of the package for those who ask for them: the command line, files, Flower, tuning.
NOT_THE_CODEC = ("cli", "container", "experiments", "flower", "tune")
# Found before it is imported: where it is used in place, what finds it loads modules, too.
PROGRAM = """
import importlib.util
import sys
import {expected}
importlib.util.find_spec("fl_deepcabac")
before = set(sys.modules)
{statement}
print(*sorted(set(sys.modules) - before))
"""


def loaded_by(statement: str) -> list[str]:
    """Name the modules that `statement` loads beyond the expected ones, in a fresh interpreter."""
    expected = ", ".join((*EXPECTED, *EXPECTED_OF_STANDARD_LIBRARY))
    program = PROGRAM.format(expected=expected, statement=statement)
    # -P: the installed package, wherever the suite is run from.
    command = [sys.executable, "-P", "-c", program]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return answer.stdout.split()


def is_surplus(module: str) -> bool:
    package, _, rest = module.partition(".")
    return package != "fl_deepcabac" or rest.split(".")[0] in NOT_THE_CODEC


def test_import_loads_the_codec_and_nothing_else() -> None:
    modules = loaded_by("import fl_deepcabac")
    assert "fl_deepcabac.codec" in modules
    assert [module for module in modules if is_surplus(module)] == []


@pytest.mark.parametrize("surplus", ["fl_deepcabac.tune", "sqlite3", "numpy.testing"])
def test_surplus_is_noticed(surplus: str) -> None:
    modules = loaded_by(f"import fl_deepcabac, {surplus}")
    assert surplus in [module for module in modules if is_surplus(module)]
