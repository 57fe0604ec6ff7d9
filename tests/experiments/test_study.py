# SPDX-License-Identifier: Apache-2.0
"""Study files: what they plan, and what is said of those that plan nothing."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from fl_deepcabac import DeepCabacError
from fl_deepcabac.experiments.settings import RunSettings
from fl_deepcabac.experiments.study import StudyError, parse_study, read_study

NONE = {"name": "none"}
TEXT = """
title = "Two and two"

[settings]
rounds = 3
alpha = [0.5, "iid"]
seed = [0, 1]

[[case]]
label = "all"

[[case]]
label = "10 % of 100"
clients = 100
fraction = 0.1

[[codec]]
name = "none"
label = "FP32"

[[codec]]
name = "deepcabac"
label = "ours"
relative_step = [3.0, 6.0]
"""


def test_grid_is_every_combination(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(TEXT)
    study = read_study(tmp_path / "x.toml")
    assert study.title == "Two and two"
    assert len(study.runs) == 2 * 2 * 2 * 3
    assert len({run.run_id for run in study.runs}) == len(study.runs)
    assert {run.label for run in study.runs} == {
        "FP32",
        "ours, relative_step 3.0",
        "ours, relative_step 6.0",
    }
    last = study.runs[-1]
    assert last.case == "10 % of 100"
    assert last.codec == {"name": "deepcabac", "relative_step": 6.0}
    assert last.settings == RunSettings(rounds=3, alpha=None, seed=1, clients=100, fraction=0.1)
    assert last.run_id.startswith("digits-10-of-100-iid-s1-ours-relative-step-6.0-")


def test_runs_of_equal_settings_are_neighbours() -> None:
    study = parse_study({"settings": {"seed": [0, 1]}, "codec": [NONE, {"name": "x", "a": [1, 2]}]})
    assert [run.settings.seed for run in study.runs] == [0, 0, 0, 1, 1, 1]
    assert [run.label for run in study.runs[:3]] == ["none", "x, a 1", "x, a 2"]


def test_id_depends_on_what_is_computed_alone() -> None:
    def run_id(codec: dict[str, Any] = NONE, **settings: Any) -> str:
        [run] = parse_study({"settings": settings, "codec": [codec]}).runs
        return run.run_id

    plain = run_id()
    assert run_id(workers=1) == plain
    assert run_id(data_dir="elsewhere") == plain
    assert run_id(clients=10) == plain
    others = [run_id(rounds=14), run_id(seed=1), run_id({"name": "none", "a": 1})]
    assert len({plain, *others}) == 4
    # Pinned: a run that has finished must be found again by later versions.
    assert plain == "digits-10-a0.5-s0-none-250f3bbb"


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({}, r"expected at least one \[\[codec\]\], found none"),
        ({"codec": NONE}, r"expected tables \[\[codec\]\]"),
        ({"codec": ["none"]}, r"expected a table \[codec\], found 'none'"),
        ({"codec": [NONE], "settings": [1]}, r"expected a table \[settings\]"),
        ({"codec": [NONE], "settings": {"sedes": 1}}, "setting 'sedes': expected one of"),
        ({"codec": [NONE], "settings": {"rounds": [1, 0]}}, "setting 'rounds': expected"),
        ({"codec": [NONE], "seeds": [1]}, "expected the sections .*, found 'seeds'"),
        ({"codec": [NONE, NONE]}, "expected each run once, found .* twice"),
        ({"codec": [NONE], "settings": {"seed": [1, 1]}}, "expected each run once"),
        (
            {"codec": [{**NONE, "label": "a"}, {"name": "x", "label": "a"}]},
            "expected one codec for each label, found two for 'a'",
        ),
        ({"codec": [NONE], "case": []}, r"expected tables \[\[case\]\]"),
        ({"codec": [{**NONE, "label": 3}]}, "label: expected text, found 3"),
        ({"codec": [NONE], "settings": {"seed": []}}, "seed: expected at least one value"),
        ({"codec": [{**NONE, "a": date(2026, 1, 1)}]}, "a: expected text, a number or true"),
        ({"codec": [NONE], "settings": {"model": "iid"}}, "iid"),
    ],
)
def test_impossible_study_is_refused(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(DeepCabacError, match=complaint):
        parse_study(values)


def test_complaint_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text("[settings\n")
    with pytest.raises(StudyError, match=f"{path}: expected TOML"):
        read_study(path)
    path.write_text("[settings]\nrounds = 0\n[[codec]]\nname = 'none'\n")
    with pytest.raises(StudyError, match=f"{path}: setting 'rounds'"):
        read_study(path)
    with pytest.raises(FileNotFoundError):
        read_study(tmp_path / "none.toml")
