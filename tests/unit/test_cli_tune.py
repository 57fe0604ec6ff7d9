# SPDX-License-Identifier: Apache-2.0
"""The command ``tune``, called as a function."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_calls import complaint
from safetensors.numpy import save_file

from fl_deepcabac.cli import main
from fl_deepcabac.cli.update_files import read_updates
from fl_deepcabac.tune import RELATIVE_STEPS

Update = dict[str, np.ndarray]


def make_update(seed: int) -> Update:
    rng = np.random.default_rng(seed)
    return {
        "conv/weight": rng.laplace(0, 0.01, (40, 60)).astype(np.float32),
        "bias": rng.normal(0, 0.02, 40).astype(np.float32),
    }


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Return three updates, one a file."""
    paths = [tmp_path / f"update{number}.npz" for number in range(3)]
    for number, path in enumerate(paths):
        np.savez(path, **make_update(number))
    return paths


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    """Return the same updates recorded in one file; round 10 comes after round 9."""
    path = tmp_path / "stream.npz"
    rounds = {10: make_update(1), 9: make_update(0), 11: make_update(2)}
    named = {
        f"r{n}/{name}": array for n, update in rounds.items() for name, array in update.items()
    }
    np.savez(path, **named)
    return path


def result_of(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["tune", *map(str, argv), "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    result: dict[str, Any] = json.loads(captured.out)
    return result


def without_speeds(result: Any) -> Any:
    if isinstance(result, dict):
        return {k: without_speeds(v) for k, v in result.items() if not k.endswith("_speed")}
    return [without_speeds(row) for row in result] if isinstance(result, list) else result


def test_files_in_order_are_a_stream(
    files: list[Path], stream: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = result_of(capsys, *files, "--profile", "fast")
    assert without_speeds(result_of(capsys, stream, "--profile", "fast")) == without_speeds(
        expected
    )
    assert (expected["n_updates"], expected["n_weights"]) == (3, 2440)
    backwards = result_of(capsys, *reversed(files), "--profile", "fast")
    assert without_speeds(backwards["points"]) != without_speeds(expected["points"])


def test_json_holds_everything(files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    result = result_of(capsys, *files, "--ratio", "20")
    assert {point["profile"] for point in result["points"]} == {"fast", "max"}
    for profile in ("fast", "max"):
        steps = {p["relative_step"] for p in result["points"] if p["profile"] == profile}
        assert set(RELATIVE_STEPS) <= steps
    assert result["goal"] == {"name": "ratio", "value": 20.0}
    assert [row["name"] for row in result["recommendations"]] == ["fast", "max"]
    for row in result["recommendations"]:
        assert row["point"]["ratio"] >= 20
        assert row["config"]["relative_step"] == row["point"]["relative_step"]
    assert any("3 updates" in text for text in result["cautions"])


def test_table_names_the_settings_to_take(
    files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", *map(str, files)]) == 0
    out = capsys.readouterr().out
    for title in ("step", "bits/weight", "ratio", "rel. sq. error", "zeros", "encode Mw/s"):
        assert title in out
    assert "3 updates of 2,440 weights" in out
    assert 'near-lossless: CodecConfig(relative_step=1, profile="fast")' in out
    assert 'smallest: CodecConfig(relative_step=12, profile="max")' in out
    assert "caution: 3 updates" in out
    assert "caution: 2,440 weights" in out


def test_one_file_gets_settings_of_compress(
    files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", str(files[0]), "--max-error", "0.05", "--profile", "max"]) == 0
    out = capsys.readouterr().out
    assert "for a relative squared error of at most 0.05" in out
    assert "fl-deepcabac compress ... --relative-step " in out
    assert "--profile max" in out
    assert "caution: one update" in out
    assert "fast" not in out


def test_a_goal_out_of_reach_is_said_to_be(
    files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", *map(str, files), "--bits", "0.0001", "--profile", "fast"]) == 0
    assert "no step has at most 0.0001 bits per weight" in capsys.readouterr().out


def test_error_feedback_can_be_left_out(
    files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    result = result_of(capsys, *files, "--profile", "fast", "--no-error-feedback")
    assert result["error_feedback"] is False
    assert all(point["relative_squared_error"] <= 1.01 for point in result["points"])


def test_safetensors_are_read_too(
    files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "last.safetensors"
    save_file(make_update(2), other)
    assert result_of(capsys, *files[:2], other, "--profile", "fast")["n_updates"] == 3


def test_tensors_of_all_files_come_in_the_order_of_the_first(
    files: list[Path], tmp_path: Path
) -> None:
    other = tmp_path / "other.npz"
    np.savez(other, **dict(reversed(make_update(1).items())))
    first, second = read_updates([files[0], other])
    assert list(first) == list(second) == ["conv/weight", "bias"]


def test_names_that_only_look_like_rounds_are_a_plain_update(tmp_path: Path) -> None:
    path = tmp_path / "in.npz"
    np.savez(path, **{"r0/w": np.ones(3), "r0": np.ones(3)})
    assert [list(update) for update in read_updates([path])] == [["r0/w", "r0"]]


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--ratio", "0"], "'ratio': expected a positive number, found 0.0"),
        (["--bits", "nan"], "'bits': expected a positive number"),
        (["--max-error", "x"], "expected a number, found 'x'"),
        (["--ratio", "3", "--bits", "1"], "not allowed with"),
        (["--profile", "slow"], "expected fast or max"),
        (["missing.npz"], "missing.npz: expected a path that can be used"),
    ],
)
def test_wrong_arguments_cost_one_line(
    argv: list[str], expected: str, files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in complaint(capsys, "tune", files[0], *argv)


def test_files_of_two_models_are_refused(
    files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.npz"
    np.savez(other, **{"conv/weight": np.ones((3, 4), np.float32)})
    text = complaint(capsys, "tune", files[0], other)
    assert f"{other}: expected the names, shapes and dtypes of {files[0]}" in text


def test_rounds_of_two_models_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "in.npz"
    np.savez(path, **{"r0/w": np.ones(3, np.float32), "r1/w": np.ones(4, np.float32)})
    assert "round 1: expected the names" in complaint(capsys, "tune", path)


def test_a_file_without_floats_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "in.npz"
    np.savez(path, n=np.arange(4))
    assert "expected floating-point tensors, found none" in complaint(capsys, "tune", path)
