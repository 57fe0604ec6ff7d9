# SPDX-License-Identifier: Apache-2.0
"""The studies that are shown can be run: every codec in them can be built."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from fl_deepcabac.experiments.baselines.catalogue import CODEC_NAMES, build_codec
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


def test_document_names_every_codec() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([a-z0-9]+)`", row.split("|")[1])}
    assert set(CODEC_NAMES) <= named
