# SPDX-License-Identifier: Apache-2.0
"""What no linter checks: that numbers, documents and sources of this repository agree.

Each test reads files of the checkout and compares them with one another; none of them judges style.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest

import fl_deepcabac
from fl_deepcabac import _native

ROOT = Path(__file__).resolve().parents[1]
MAX_LINES = 400
SOURCE_FOLDERS = ("fl_deepcabac", "native", "tests", "examples", "benchmarks")
SOURCE_SUFFIXES = {".py", ".pyi", ".cpp", ".hpp"}


def sources() -> list[Path]:
    return [
        path
        for folder in SOURCE_FOLDERS
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in SOURCE_SUFFIXES
    ]


def documents() -> list[Path]:
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def public_modules() -> list[str]:
    paths = sorted((ROOT / "fl_deepcabac").rglob("*.py"))
    parts = [path.relative_to(ROOT).with_suffix("").parts for path in paths]
    modules = [".".join(part[:-1] if part[-1] == "__init__" else part) for part in parts]
    return [name for name in modules if not name.rsplit(".", 1)[-1].startswith("_")]


def test_version_is_one_number() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[(\d[^\]]*)\]", changelog, flags=re.MULTILINE)
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    cited = re.search(r"^version: (\S+)$", citation, flags=re.MULTILINE)
    assert newest is not None
    assert cited is not None
    found = {
        "pyproject.toml": project["version"],
        "installed distribution": importlib.metadata.version("fl-deepcabac"),
        "fl_deepcabac": fl_deepcabac.__version__,
        "_native": _native.__version__,
        "CHANGELOG.md": newest[1],
        "CITATION.cff": cited[1],
    }
    assert len(set(found.values())) == 1, found


@pytest.mark.parametrize("name", public_modules())
def test_module_lists_its_public_names(name: str) -> None:
    module = importlib.import_module(name)
    listed = module.__all__
    assert len(set(listed)) == len(listed)
    missing = [entry for entry in listed if not hasattr(module, entry)]
    assert missing == []


def test_package_names_are_documented() -> None:
    undocumented = [
        name
        for name in fl_deepcabac.__all__
        if callable(getattr(fl_deepcabac, name)) and not getattr(fl_deepcabac, name).__doc__
    ]
    assert undocumented == []


def test_source_files_are_short_and_licensed() -> None:
    paths = sources()
    assert len(paths) > 20
    faults = []
    for path in paths:
        lines = path.read_text(encoding="utf-8").splitlines()
        if len(lines) > MAX_LINES:
            faults.append(f"{path.relative_to(ROOT)}: {len(lines)} lines")
        if lines and "SPDX-License-Identifier: Apache-2.0" not in lines[0]:
            faults.append(f"{path.relative_to(ROOT)}: no licence line")
    assert faults == []


def test_core_does_not_print() -> None:
    printing = re.compile(r"\b(std::(cout|cerr|clog|print)|f?printf|puts)\b")
    core = [*(ROOT / "native" / "src").rglob("*"), *(ROOT / "native" / "include").rglob("*.hpp")]
    assert [path.name for path in core if printing.search(path.read_text(encoding="utf-8"))] == []


def test_cited_sections_of_the_specification_exist() -> None:
    specification = (ROOT / "docs" / "bitstream.md").read_text(encoding="utf-8")
    sections = set(re.findall(r"^#+ (\d+(?:\.\d+)*)\b", specification, flags=re.MULTILINE))
    assert "1" in sections
    citation = re.compile(r"\bspec (\d+(?:\.\d+)*)")
    missing = [
        f"{path.relative_to(ROOT)}: spec {section}"
        for path in sources()
        for section in citation.findall(path.read_text(encoding="utf-8"))
        if section not in sections
    ]
    assert missing == []


def test_links_between_documents_resolve() -> None:
    link = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
    broken = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in documents()
        for target in link.findall(path.read_text(encoding="utf-8"))
        if not (path.parent / target).exists()
    ]
    assert broken == []


def test_decisions_are_numbered_in_order() -> None:
    numbers = [int(path.name[:4]) for path in sorted((ROOT / "docs/decisions").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))
