# SPDX-License-Identifier: Apache-2.0
"""The command ``model``, called as a function."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_calls import complaint
from safetensors.numpy import save_file

from fl_deepcabac.cli import main
from fl_deepcabac.models import CompressedModel

WEIGHTS = {
    "fc.bias": np.linspace(-1, 1, 30, dtype=np.float32),
    "fc.weight": np.random.default_rng(5).normal(0, 0.1, (30, 50)).astype(np.float32),
}
EVALUATE = """
import numpy as np

with np.load("model.npz") as file:
    before = dict(file)

def accuracy(weights):
    error = sum(np.square(weights[name] - before[name]).sum() for name in before)
    return 95.0 - float(error)

number = 7

def percent(weights):
    return accuracy(weights) / 100

def nothing(weights):
    return None

def fails(weights):
    raise OSError("no disk")

def late(weights):
    import beside
    return beside.accuracy
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a model and something that judges it; the current one."""
    np.savez(tmp_path / "model.npz", **WEIGHTS)
    (tmp_path / "judging.py").write_text(EVALUATE)
    (tmp_path / "beside.py").write_text("accuracy = 77")
    (tmp_path / "broken.py").write_text("def :")
    sys.modules.pop("judging", None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("source", ["model.npz", "model.safetensors"])
def test_model_is_compressed_and_restored(
    source: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file(WEIGHTS, folder / "model.safetensors")
    assert main(["model", "compress", source, "m.dcbc", "--step", "0.02"]) == 0
    n_bytes = (folder / "m.dcbc").stat().st_size
    assert capsys.readouterr().out.startswith(f"m.dcbc: {n_bytes:,} bytes for 6,120 in 2 tensors")
    assert main(["model", "decompress", "m.dcbc", "back.npz"]) == 0
    with np.load(folder / "back.npz") as back:
        assert {name: back[name].shape for name in back.files} == {
            name: array.shape for name, array in WEIGHTS.items()
        }
        assert np.abs(back["fc.weight"] - WEIGHTS["fc.weight"]).max() < 0.06
    assert main(["model", "inspect", "m.dcbc", "--json"]) == 0
    described = json.loads(capsys.readouterr().out.partition("\n")[2])
    assert described["config"] is None
    steps = {row["name"]: row["step"] for row in described["report"]["tensors"]}
    assert steps["fc.weight"] == pytest.approx(0.02)


def test_settings_reach_the_model(folder: Path) -> None:
    np.savez(folder / "importance.npz", **{"fc.weight": np.abs(WEIGHTS["fc.weight"])})
    sizes = []
    for options in (
        "--relative-step 0.5",
        "--relative-step 0.5 --rd-lambda 0.5",
        "--relative-step 0.5 --profile fast --threads 2",
        "--relative-step 0.5 --vector-step 0.001",
        "--relative-step 0.5 --step-override fc.weight=0.5",
        "--relative-step 0.5 --importance importance.npz",
        "--target-bytes 300",
        "",
    ):
        assert main(["model", "compress", "model.npz", "m.dcbc", *options.split()]) == 0
        sizes.append(CompressedModel.load(folder / "m.dcbc").n_bytes)
    assert len(set(sizes)) == len(sizes)
    assert sizes[1] < sizes[0] < sizes[3]


def test_search_takes_the_smallest_within_the_tolerance(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = ["model", "compress", "model.npz", "m.dcbc", "--search", "python:judging:accuracy"]
    options = ["--tolerance", "0.5", "--jobs", "2", "--log", "log.jsonl"]
    assert main([*search, *options]) == 0
    shown = capsys.readouterr().out
    assert "before: 95.00 %, may lose 0.5" in shown
    assert shown.count("taken") == 1
    assert main(["model", "decompress", "m.dcbc", "back.npz"]) == 0
    with np.load(folder / "back.npz") as back:
        lost = sum(float(np.square(back[name] - WEIGHTS[name]).sum()) for name in back.files)
    assert 0.3 < lost <= 0.5
    n_lines = len((folder / "log.jsonl").read_text().splitlines())
    assert main([*search, *options]) == 0
    assert len((folder / "log.jsonl").read_text().splitlines()) == n_lines


def test_module_beside_the_function_is_found_when_it_is_called() -> None:
    assert main(["model", "compress", "model.npz", "m.dcbc", "--search", "judging:late"]) == 0


def test_log_names_what_judged(capsys: pytest.CaptureFixture[str]) -> None:
    search = ["model", "compress", "model.npz", "m.dcbc", "--log", "log.jsonl", "--search"]
    assert main([*search, "judging:accuracy"]) == 0
    capsys.readouterr()
    assert "the same weights with the same settings" in complaint(capsys, *search, "judging:late")


@pytest.mark.parametrize(
    ("argv", "found"),
    [
        ("compress model.npz m.npz", "expected the name of a compressed file"),
        ("compress model.npz m.dcbc --search judging", "expected MODULE:FUNCTION, found 'judging'"),
        ("compress model.npz m.dcbc --search nowhere:f", "a module 'nowhere' that can be imported"),
        ("compress model.npz m.dcbc --search judging:f", "a function 'f' in 'judging', found none"),
        ("compress model.npz m.dcbc --search judging:number", "a function 'number' in 'judging'"),
        ("compress model.npz m.dcbc --search judging:accuracy --method dc-v1", "importance of 'fc"),
        ("compress model.npz m.dcbc --search judging.py:accuracy", "a module, judging:accuracy,"),
        ("compress model.npz m.dcbc --search ./judging.py:f", "a module, judging:f,"),
        ("compress model.npz m.dcbc --search broken:f", "found SyntaxError: invalid syntax"),
        ("compress model.npz m.dcbc --search judging:percent", "in per cent, found 0.95"),
        ("compress model.npz m.dcbc --search judging:nothing", "in per cent, found None"),
        ("compress model.npz m.dcbc --search judging:fails", "found OSError: no disk ("),
        ("compress model.npz m.dcbc --search judging:fails --jobs 3", "found OSError: no disk ("),
        ("compress model.npz m.dcbc --search judging:accuracy --jobs 0", "setting 'jobs'"),
        ("compress model.npz m.dcbc --search judging:accuracy --log m.dcbc", "--log: expected ano"),
        (
            "compress model.npz m.dcbc --search judging:accuracy --rd-lambda 1",
            "--rd-lambda: expected none",
        ),
        ("compress model.npz m.dcbc --method dc-v1", "--method: expected --search beside it"),
        ("compress model.npz m.dcbc --jobs 2", "--jobs: expected --search beside it"),
        ("compress model.npz nowhere/m.dcbc", "expected a folder that can be written to"),
        ("compress model.npz m.dcbc --vector-step 0", "setting 'vector_step'"),
        ("compress model.npz m.dcbc --target-bytes 20", "budget"),
        ("compress model.npz m.dcbc --step 0.1 --relative-step 1", "not allowed with"),
        ("compress model.txt m.dcbc", "expected a name ending in one of .npz, .safetensors, .pt"),
        ("compress model.npz m.dcbc --step -1", "setting 'step'"),
        ("decompress judging.py back.npz", "container magic"),
        ("decompress m.dcbc back.pt", "expected a name ending in .npz or .safetensors"),
        (
            "decompress small.dcbc back.npz --max-weights 100",
            "weights: expected at most 100, found 1530",
        ),
        ("inspect judging.py", "expected"),
        ("train x", "expected one of"),
    ],
)
def test_complaints_are_one_line(
    argv: str, found: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["model", "compress", "model.npz", "small.dcbc"]) == 0
    capsys.readouterr()
    assert found in complaint(capsys, "model", *argv.split())
    assert not (folder / "m.dcbc").exists()
