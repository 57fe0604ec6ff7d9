# SPDX-License-Identifier: Apache-2.0
"""Who may import whom, read from the sources; and proof that each rule would notice.

Two boundaries carry the design: Python/native and codec/Flower. The rules are checked on syntax
trees, so imports inside functions and under TYPE_CHECKING count too. Every rule is a function from
sources to complaints: one test feeds it the repository, another a forgery that it must reject.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "fl_deepcabac"

# A unit (a module or a subpackage of fl_deepcabac) imports only units of earlier rows.
TIERS: tuple[tuple[str, ...], ...] = (
    ("_native",),
    ("errors", "atomic_file"),
    ("config", "schema"),
    ("arrays", "content_digest", "exact_section", "update_norm", "zstd_frame"),
    ("allocation", "feedback", "report"),
    ("quantize", "entropy", "packet"),
    ("rate_search",),
    ("stream", "rate"),
    ("agreement",),
    ("codec", "byte_planes"),
    ("grid",),
    ("update_stream",),
    ("container", "tune_points"),
    ("tune_goal",),
    ("tune",),
    ("__init__",),
    ("models",),
    ("flower",),
    ("experiments",),
    ("cli",),
)
TIER_OF = {unit: tier for tier, units in enumerate(TIERS) for unit in units}

NATIVE_USERS = {
    "quantize",
    "entropy",
    "content_digest",
    "__init__",
}  # the last for __version__ alone
CODEC_MAY_USE = {"numpy", "zstandard"}
FLOWER_API = {"flwr.app", "flwr.clientapp", "flwr.serverapp"}
# What a unit may import besides the standard library; units not named here are the codec's.
MAY_USE = {
    "flower": CODEC_MAY_USE | FLOWER_API,
    "experiments": CODEC_MAY_USE
    | FLOWER_API
    | {"flwr.simulation", "torch", "sklearn", "safetensors", "matplotlib", "jinja2", "rich"},
    "cli": CODEC_MAY_USE | {"rich", "safetensors"},
}
# What a single module may import besides: extras, within functions.
MODULE_MAY_USE = {
    "fl_deepcabac.experiments.baselines.nncodec_worker": {"nncodec"},
    "fl_deepcabac.experiments.baselines.sz3": {"pysz"},
    "fl_deepcabac.experiments.tasks.flwr_datasets": {"flwr_datasets"},
    "fl_deepcabac.flower.frames": {"pandas"},
    "fl_deepcabac.flower.ledger": {"pandas"},
    "fl_deepcabac.flower.loggers.mlflow": {"mlflow"},
    "fl_deepcabac.flower.loggers.tensorboard": {"tensorboard"},
    "fl_deepcabac.flower.loggers.wandb": {"wandb"},
}
EXTRAS = {"flwr_datasets", "mlflow", "pandas", "tensorboard", "wandb"}
# States and packets are bytes with a version: nothing that runs code on loading may read them.
NEVER = {"pickle", "shelve", "marshal"}

Sources = dict[str, str]  # dotted module name -> text


def python_sources() -> Sources:
    sources = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        sources[".".join(parts)] = path.read_text(encoding="utf-8")
    return sources


def unit_of(module: str) -> str:
    """Name the row entry that `module` belongs to: ``fl_deepcabac.flower.client`` is ``flower``."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports_of(module: str, source: str) -> set[str]:
    """Collect the absolute dotted names that `source` imports."""
    package = module.split(".")[:-1]  # a package's own module ends in __init__
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                is_module = origin in {PACKAGE, "flwr"} and (
                    origin == "flwr" or alias.name in TIER_OF
                )
                found.add(f"{origin}.{alias.name}" if is_module else origin)
    return found


def tier_complaints(sources: Sources) -> list[str]:
    """List imports within the package that do not point to an earlier row."""
    complaints = []
    for module, source in sources.items():
        importer = unit_of(module)
        for name in sorted(imports_of(module, source)):
            if name.split(".")[0] != PACKAGE or unit_of(name) == importer:
                continue
            imported = unit_of(name)
            if imported == "_native":
                allowed = importer in NATIVE_USERS
            else:
                allowed = TIER_OF[imported] < TIER_OF[importer]
            if not allowed:
                complaints.append(f"{module} imports {name}")
    return complaints


def dependency_complaints(sources: Sources) -> list[str]:
    """List imports of other distributions that the importing unit may not use."""
    complaints = []
    for module, source in sources.items():
        allowed = MAY_USE.get(unit_of(module), CODEC_MAY_USE) | MODULE_MAY_USE.get(module, set())
        for name in sorted(imports_of(module, source)):
            top = name.split(".")[0]
            if top == PACKAGE or (top in sys.stdlib_module_names and top not in NEVER):
                continue
            if not any(name == entry or name.startswith(f"{entry}.") for entry in allowed):
                complaints.append(f"{module} imports {name}")
    return complaints


def native_sources() -> Sources:
    return {
        path.relative_to(ROOT / "native").as_posix(): path.read_text(encoding="utf-8")
        for suffix in ("*.hpp", "*.cpp")
        for path in sorted((ROOT / "native").rglob(suffix))
    }


def includes_of(source: str) -> list[str]:
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', source, flags=re.MULTILINE)


def native_complaints(sources: Sources) -> list[str]:
    """List includes of Python outside native/python."""
    complaints = []
    for path, source in sources.items():
        for name in includes_of(source):
            is_python = name.startswith("pybind11/") or name == "Python.h"
            if is_python and not path.startswith("python/"):
                complaints.append(f"{path} includes {name}")
    return complaints


def include_cycles(sources: Sources) -> list[str]:
    """List the headers of the core that include themselves by way of others."""
    graph = {
        Path(path).name: {Path(name).name for name in includes_of(source)}
        for path, source in sources.items()
        if path.endswith(".hpp")
    }
    cyclic = []
    for start, included in graph.items():
        seen: set[str] = set()
        ahead = set(included)
        while ahead:
            name = ahead.pop()
            if name not in seen:
                seen.add(name)
                ahead |= graph.get(name, set())
        if start in seen:
            cyclic.append(start)
    return cyclic


def test_every_unit_has_its_row() -> None:
    units = {unit_of(module) for module in python_sources()} | {"_native"}
    assert units == set(TIER_OF)


def test_imports_point_to_earlier_rows() -> None:
    assert tier_complaints(python_sources()) == []


def test_units_use_only_their_dependencies() -> None:
    assert dependency_complaints(python_sources()) == []


def test_python_stays_out_of_the_core() -> None:
    assert native_complaints(native_sources()) == []


def test_headers_have_no_cycle() -> None:
    sources = native_sources()
    assert "python/module.cpp" in sources
    assert include_cycles(sources) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("fl_deepcabac.errors", "from fl_deepcabac.schema import Schema"),
        ("fl_deepcabac.quantize", "from fl_deepcabac.entropy import encode_levels"),
        ("fl_deepcabac.packet", "from . import entropy"),
        ("fl_deepcabac.codec", "from fl_deepcabac import _native"),
        ("fl_deepcabac.codec", "import fl_deepcabac._native"),
        ("fl_deepcabac.codec", "def later():\n    from fl_deepcabac.flower import client"),
        ("fl_deepcabac.flower.client", "from ..experiments import runner"),
        ("fl_deepcabac.codec", "from fl_deepcabac import Schema"),
    ],
)
def test_tier_rule_notices(module: str, source: str) -> None:
    assert tier_complaints({module: source}) != []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("fl_deepcabac.codec", "import flwr"),
        ("fl_deepcabac.codec", "def later():\n    import torch"),
        ("fl_deepcabac.container", "import pickle"),
        ("fl_deepcabac.flower.client", "import torch.nn"),
        ("fl_deepcabac.flower.client", "from flwr.common import Parameters"),
        ("fl_deepcabac.flower.client", "from flwr import common"),
        ("fl_deepcabac.flower.server", "import pandas"),
        ("fl_deepcabac.flower.loggers.wandb", "import mlflow"),
        (
            "fl_deepcabac.cli",
            "import typing\nif typing.TYPE_CHECKING:\n    import torch",
        ),
    ],
)
def test_dependency_rule_notices(module: str, source: str) -> None:
    assert dependency_complaints({module: source}) != []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("fl_deepcabac.codec", "from . import entropy, quantize\nimport numpy as np"),
        ("fl_deepcabac.flower.client", "from flwr.app import Message\nfrom .records import pack"),
        ("fl_deepcabac.__init__", "from .codec import UpdateEncoder"),
        ("fl_deepcabac.flower.loggers.wandb", "def later():\n    import wandb"),
    ],
)
def test_rules_accept_what_is_meant(module: str, source: str) -> None:
    assert tier_complaints({module: source}) == []
    assert dependency_complaints({module: source}) == []


def test_native_rules_notice() -> None:
    assert native_complaints({"src/level_codec.cpp": "#include <pybind11/pybind11.h>"}) != []
    circle = {"include/a.hpp": '#include "b.hpp"', "include/b.hpp": '#include "fl_deepcabac/a.hpp"'}
    assert include_cycles(circle) == ["a.hpp", "b.hpp"]


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import fl_deepcabac", {"flwr", "torch", "rich", "sklearn", "matplotlib", *EXTRAS}),
        ("import fl_deepcabac.flower", {"torch", "sklearn", "matplotlib", *EXTRAS}),
        ("import fl_deepcabac.flower.loggers", {"torch", "sklearn", "matplotlib", *EXTRAS}),
        ("import fl_deepcabac.cli", {"torch", "sklearn", "matplotlib", *EXTRAS}),
    ],
)
def test_import_loads_nothing_it_does_not_need(statement: str, absent: set[str]) -> None:
    program = f"{statement}\nimport sys\nprint(*sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT
    )
    loaded = set(answer.stdout.split())
    assert PACKAGE in loaded
    assert loaded & absent == set()
