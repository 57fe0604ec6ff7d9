# SPDX-License-Identifier: Apache-2.0
"""The studies that are shown can be run: every codec in them can be built."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from fl_deepcabac.experiments.baselines.catalogue import CODEC_NAMES, METHODS, build_codec
from fl_deepcabac.experiments.baselines.nncodec import PYTHON_VARIABLE
from fl_deepcabac.experiments.study import parse_study, read_study

ROOT = Path(__file__).resolve().parents[2]
STUDIES = sorted((ROOT / "examples" / "studies").glob("*.toml"))
PAGE = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_example_can_be_run(path: Path, monkeypatch: pytest.MonkeyPatch, python: str) -> None:
    monkeypatch.setenv(PYTHON_VARIABLE, python)
    study = read_study(path)
    for codec in {run.label: run.codec for run in study.runs}.values():
        build_codec(codec)


def test_study_in_the_document_can_be_run() -> None:
    [text] = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    study = parse_study(tomllib.loads(text))
    assert len(study.runs) == 2 * 2 * 2 * 3
    for run in study.runs:
        build_codec(run.codec)


def documented_parameters() -> dict[str, dict[str, Any]]:
    """Return the defaults that the document states, by codec; None where it states none."""
    table = PAGE.partition("| codec | parameters")[2].partition("\n\n")[0]
    found = {}
    for row in table.splitlines()[2:]:
        _, names, text, _ = row.split("|")
        stated = re.findall(r"`([a-z_]+)(?: = ([^`]+))?`", text)
        parameters = {
            name: tomllib.loads(f"value = {value}")["value"] if value else None
            for name, value in stated
        }
        found |= dict.fromkeys(re.findall(r"`([a-z0-9]+)`", names), parameters)
    return found


def test_document_names_every_codec() -> None:
    assert documented_parameters().keys() == set(CODEC_NAMES)


@pytest.mark.parametrize("name", METHODS)
def test_document_names_every_parameter_with_its_default(name: str) -> None:
    parameters = documented_parameters()[name]
    packages = {"pysz"}
    assert {key: value for key, value in parameters.items() if key not in packages} == {
        field.name: field.default for field in fields(METHODS[name]) if field.init
    }
