# SPDX-License-Identifier: Apache-2.0
"""Studies that are run, interrupted, failed and gone on with."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from experiments.made_up import make_compressed_row, make_row
from rich.console import Console

from fl_deepcabac.cli import main
from fl_deepcabac.experiments.rows import RoundRow
from fl_deepcabac.experiments.run_folder import RunFolderError
from fl_deepcabac.experiments.runner import RunResult, SimulationError
from fl_deepcabac.experiments.settings import RunSettings
from fl_deepcabac.experiments.study import PlannedRun, StudyError, parse_study, read_study
from fl_deepcabac.experiments.study_folder import FinishedRun, StudyFolder, describe_rounds
from fl_deepcabac.experiments.study_progress import StudyProgress
from fl_deepcabac.experiments.study_runner import StudyOutcome, run_study

N_ROUNDS = 3
STUDY = parse_study(
    {
        "title": "A study",
        "settings": {"rounds": N_ROUNDS, "clients": 2, "seed": [0, 1]},
        "codec": [
            {"name": "none", "label": "FP32"},
            {"name": "deepcabac", "label": "ours", "relative_step": 6.0},
        ],
    }
)


class Runs:
    """Stands for `run_federated`: rounds that are made up, and what goes wrong on the way."""

    def __init__(self, fails: Any = None, stops_after: int | None = None) -> None:
        self.begun: list[tuple[str, int]] = []
        self._fails = fails
        self._rounds_left = stops_after

    def __call__(
        self, settings: RunSettings, codec: Any, *, label: str, observer: Any, **_: Any
    ) -> RunResult:
        self.begun.append((label, settings.seed))
        make = make_row if codec.name == "none" else make_compressed_row
        rows: list[RoundRow] = []
        for number in range(1, settings.rounds + 1):
            if self._rounds_left == 0:
                raise KeyboardInterrupt
            if self._rounds_left is not None:
                self._rounds_left -= 1
            for arrived in (1, 2):
                observer.on_reply("train", arrived, 2)
            rows.append(make(run=label, round=number, seed=settings.seed, accuracy=0.1 * number))
            observer.on_round(rows[-1])
            if self._fails is not None and self._fails(label, settings.seed):
                raise SimulationError("round 1: expected updates, found none")
        return RunResult(label, rows)


class Notes:
    """An observer that takes notes."""

    def __init__(self) -> None:
        self.skipped: list[str] = []
        self.ended: list[tuple[str, str | None]] = []

    def on_skip(self, run: PlannedRun) -> None:
        self.skipped.append(run.run_id)

    def on_begin(self, run: PlannedRun) -> None:
        pass

    def on_reply(self, phase: str, arrived: int, asked: int) -> None:
        pass

    def on_round(self, row: RoundRow) -> None:
        pass

    def on_end(self, run: PlannedRun, reason: str | None) -> None:
        self.ended.append((run.run_id, reason))


def table_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_study_is_run_and_its_rounds_are_one_table(tmp_path: Path) -> None:
    runs = Runs()
    outcome = run_study(STUDY, StudyFolder(tmp_path / "study"), Notes(), run=runs)
    assert outcome == StudyOutcome(4, 0, {})
    assert runs.begun == [("FP32", 0), ("ours", 0), ("FP32", 1), ("ours", 1)]
    lines = table_of(tmp_path / "study")
    assert len(lines) == 4 * N_ROUNDS
    ours = [line for line in lines if line["label"] == "ours" and line["seed"] == "1"]
    assert [line["round"] for line in ours] == ["1", "2", "3"]
    assert ours[-1]["uplink_packet_bytes"] == "100"
    assert json.loads(ours[-1]["codec_settings"])["relative_step"] == 6.0
    assert ours[-1]["clients"] == "2"
    assert not any(name.startswith("layer_bytes") for name in lines[0])


def test_interrupted_study_goes_on_with_the_run_at_work(tmp_path: Path) -> None:
    path = tmp_path / "study"
    with pytest.raises(KeyboardInterrupt):
        run_study(STUDY, StudyFolder(path), Notes(), run=Runs(stops_after=5))
    assert len(table_of(path)) == N_ROUNDS
    runs, notes = Runs(), Notes()
    outcome = run_study(STUDY, StudyFolder(path), notes, run=runs)
    assert outcome == StudyOutcome(3, 1, {})
    assert runs.begun == [("ours", 0), ("FP32", 1), ("ours", 1)]
    assert notes.skipped == [STUDY.runs[0].run_id]
    rows = [row for run in StudyFolder(path).runs() for row in run.rows]
    assert len(rows) == 4 * N_ROUNDS
    assert run_study(STUDY, StudyFolder(path), Notes(), run=Runs()) == StudyOutcome(0, 4, {})


def test_failed_run_costs_itself_and_is_tried_again(tmp_path: Path) -> None:
    notes = Notes()
    outcome = run_study(
        STUDY,
        StudyFolder(tmp_path),
        notes,
        run=Runs(lambda label, seed: (label, seed) == ("ours", 0)),
    )
    failed = STUDY.runs[1].run_id
    assert outcome.failures == {failed: "round 1: expected updates, found none"}
    assert [reason is None for _, reason in notes.ended] == [True, False, True, True]
    assert {line["run_id"] for line in table_of(tmp_path)} == {
        run.run_id for run in STUDY.runs if run.run_id != failed
    }
    again = Runs()
    assert run_study(STUDY, StudyFolder(tmp_path), Notes(), run=again) == StudyOutcome(1, 3, {})
    assert again.begun == [("ours", 0)]
    assert len(table_of(tmp_path)) == 4 * N_ROUNDS


def test_grown_study_runs_what_is_new(tmp_path: Path) -> None:
    run_study(STUDY, StudyFolder(tmp_path), Notes(), run=Runs())
    grown = parse_study(
        {
            "settings": {"rounds": N_ROUNDS, "clients": 2, "seed": [0, 1, 2]},
            "codec": [{"name": "none", "label": "FP32"}],
        }
    )
    runs = Runs()
    assert run_study(grown, StudyFolder(tmp_path), Notes(), run=runs) == StudyOutcome(1, 2, {})
    assert runs.begun == [("FP32", 2)]
    assert len({line["run_id"] for line in table_of(tmp_path)}) == 5


def test_table_tells_all_clients_from_those_asked() -> None:
    about = {"run_id": "a", "case": "", "label": "a", "codec_settings": {}, "status": "finished"}
    run = FinishedRun({**about, "settings": {"clients": 100}}, [make_row(clients=10)])
    [line] = describe_rounds(run)
    assert (line["clients"], line["clients_asked"]) == (100, 10)


def test_runs_are_known_whatever_they_are_called(tmp_path: Path) -> None:
    run_study(STUDY, StudyFolder(tmp_path), Notes(), run=Runs())
    renamed = parse_study(
        {
            "settings": {"rounds": N_ROUNDS, "clients": 2},
            "case": [{"label": "few", "seed": [0, 1]}],
            "codec": [{"name": "deepcabac", "label": "DeepCABAC", "relative_step": [6.0, 12.0]}],
        }
    )
    assert run_study(renamed, StudyFolder(tmp_path), Notes(), run=Runs()) == StudyOutcome(2, 2, {})
    labels = {(line["label"], line["case"]) for line in table_of(tmp_path)}
    names = [(f"DeepCABAC, relative_step {step}", "few") for step in (6.0, 12.0)]
    assert labels == {("FP32", ""), *names}
    folder = StudyFolder(tmp_path)
    assert [folder.status(run.run_id) for run in STUDY.runs] == ["finished"] * 4
    assert {run.about["run_id"] for run in folder.runs()} == {
        path.name for path in (tmp_path / "runs").glob("*-*")
    }


def test_list_says_what_has_become_of_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "study.toml"
    path.write_text(
        f"[settings]\nrounds = {N_ROUNDS}\nclients = 2\nseed = [0, 1]\n[[codec]]\nname = 'none'\n"
        "[[codec]]\nname = 'deepcabac'\nrelative_step = 6.0\n"
    )
    command = ["experiment", str(path), "--out", str(tmp_path / "out"), "--list"]
    assert main(command) == 0
    assert capsys.readouterr().out.count("to do") == 4
    assert not (tmp_path / "out").exists()
    fails = Runs(lambda label, seed: "deepcabac" in label and seed == 0)
    run_study(read_study(path), StudyFolder(tmp_path / "out"), Notes(), run=fails)
    assert main(command) == 0
    assert re.findall(r"^\S+", capsys.readouterr().out, re.MULTILINE) == [
        "done",
        "failed",
        "done",
        "done",
    ]
    path.write_text("[[codec]]\nname = 'deepcabac'\nrelative_stepp = 6.0\n")
    for also in (["--list"], []):
        assert main(["experiment", str(path), "--out", str(tmp_path / "new"), *also]) == 2
        assert "relative_stepp" in capsys.readouterr().err
        assert not (tmp_path / "new").exists()


def test_what_is_wrong_is_found_before_anything_is_run(tmp_path: Path) -> None:
    runs = Runs()
    settings = {"rounds": 1, "clients": 2}
    bad = {"settings": settings, "codec": [{"name": "none"}, {"name": "nonsense"}]}
    with pytest.raises(StudyError, match="codec 'nonsense'"):
        run_study(parse_study(bad), StudyFolder(tmp_path), Notes(), run=runs)
    bad = {"settings": {**settings, "clients": [2, 10**6]}, "codec": [{"name": "none"}]}
    with pytest.raises(StudyError, match="expected at most one client per training sample"):
        run_study(parse_study(bad), StudyFolder(tmp_path), Notes(), run=runs)
    assert runs.begun == []


def test_two_processes_do_not_work_on_one_study(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    with (
        folder.locked(),
        pytest.raises(RunFolderError, match="expected no other process at work"),
        StudyFolder(tmp_path).locked(),
    ):
        pass
    with folder.locked():
        pass


def test_strange_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RunFolderError, match="expected a new folder, an empty one or that of a"):
        StudyFolder(tmp_path)
    (tmp_path / "thesis" / "runs" / "demo").mkdir(parents=True)
    with pytest.raises(RunFolderError, match="expected a new folder, an empty one or that of a"):
        StudyFolder(tmp_path / "thesis")
    with pytest.raises(RunFolderError, match="found a file"):
        StudyFolder(tmp_path / "thesis.tex")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"run_id": "x"}', b"\xff"])
def test_damaged_run_is_named(tmp_path: Path, content: bytes) -> None:
    folder = StudyFolder(tmp_path)
    folder.begin("x")
    (folder.run_folder("x") / "run.json").write_bytes(content)
    with pytest.raises(RunFolderError, match=r"run\.json: expected"):
        list(folder.runs())


KILLED = """
import sys, time
from pathlib import Path
from experiments.test_study_runner import STUDY, Notes, Runs
from fl_deepcabac.experiments.study_folder import FinishedRun, StudyFolder, describe_rounds
from fl_deepcabac.experiments.study_runner import run_study

class Slow(Notes):
    def on_round(self, row):
        print(row.run, row.round, flush=True)
        time.sleep(0.05)

run_study(STUDY, StudyFolder(Path(sys.argv[1])), Slow(), run=Runs())
"""


def test_killed_study_goes_on(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        for _ in range(N_ROUNDS + 2):
            process.stdout.readline()
        time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    runs = Runs()
    assert run_study(STUDY, StudyFolder(tmp_path), Notes(), run=runs) == StudyOutcome(3, 1, {})
    assert runs.begun == [("ours", 0), ("FP32", 1), ("ours", 1)]
    assert len(table_of(tmp_path)) == 4 * N_ROUNDS


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_says_what_comes_out(tmp_path: Path, *, is_terminal: bool) -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=is_terminal, width=150, color_system=None)
    fails = Runs(lambda label, seed: (label, seed) == ("ours", 1))
    with StudyProgress(console, STUDY) as progress:
        run_study(STUDY, StudyFolder(tmp_path), progress, run=fails)
    said = text.getvalue()
    assert "A study: 4 runs" in said
    assert f"2 of 4 runs {STUDY.runs[1].run_id}: accuracy 30.00 %, uplink 300 B (40.0x)" in said
    assert f"4 of 4 runs {STUDY.runs[3].run_id}: failed: round 1: expected updates" in said
    assert ("round 3 of 3" in said) == is_terminal
    with StudyProgress(console, STUDY) as progress:
        run_study(STUDY, StudyFolder(tmp_path), progress, run=Runs())
        assert progress._bars.tasks[0].total == N_ROUNDS * 2
