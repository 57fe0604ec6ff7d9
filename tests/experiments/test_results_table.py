# SPDX-License-Identifier: Apache-2.0
"""The table of a study, read again: the same runs, and clear words where it is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from experiments.made_up import make_row

from fl_deepcabac.cli import main
from fl_deepcabac.experiments.results_table import read_results
from fl_deepcabac.experiments.run_folder import RunFolderError
from fl_deepcabac.experiments.settings import RunSettings
from fl_deepcabac.experiments.study_folder import FinishedRun, table_text


def make_run(label: str, settings: RunSettings) -> FinishedRun:
    rows = [
        make_row(
            run=label,
            round=number,
            seed=settings.seed,
            task=settings.task,
            accuracy=None if number == 2 else 0.5,
        )
        for number in (1, 2, 3)
    ]
    about = {
        "run_id": f"{label}-{settings.seed}",
        "case": "",
        "label": label,
        "settings": vars_of(settings),
        "codec": rows[0].codec,
        "codec_settings": {"step": 0.5, "words": ["a", None], "is": True},
        "status": "finished",
        "reason": None,
        "versions": {},
    }
    return FinishedRun(about, [replace(row, layer_bytes={}) for row in rows])


def vars_of(settings: RunSettings) -> dict[str, object]:
    return {name: getattr(settings, name) for name in sorted(RunSettings.__dataclass_fields__)}


RUNS = [
    make_run("FP32", RunSettings(rounds=3, seed=0, alpha="iid")),
    make_run(
        "ours, 1 %", RunSettings(rounds=3, seed=1, alpha=0.5, clients=3, max_steps=9, workers=2)
    ),
    make_run(
        '"q"',
        RunSettings(rounds=3, seed=2, alpha="natural", task="shakespeare", learning_rate=0.25),
    ),
]


def test_runs_are_read_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text(table_text(RUNS), encoding="utf-8")
    found = list(read_results(path))
    assert found == RUNS
    assert table_text(found) == path.read_text(encoding="utf-8")


def test_tables_are_compared_like_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "results.csv", tmp_path / "page"
    path.write_text(table_text(RUNS), encoding="utf-8")
    assert main(["report", str(path), "--out", str(out)]) == 0
    assert "ours, 1 %" in (out / "report.html").read_text(encoding="utf-8")
    capsys.readouterr()
    assert main(["report", str(path)]) == 2
    assert "report results.csv --out DIR" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (",rounds,", ",turns,", "expected a column rounds, found none"),
        (",fedavg,", ",median,", "'strategy': expected one of"),
        (",3,", ",three,", "run FP32-0"),
        ('""step"": 0.5', '""step"" 0.5', "run FP32-0"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, before: str, after: str, found: str) -> None:
    path, text = tmp_path / "results.csv", table_text(RUNS)
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")
    with pytest.raises(RunFolderError, match=found):
        list(read_results(path))
