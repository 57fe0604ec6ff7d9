# SPDX-License-Identifier: Apache-2.0
"""The command line, called as a function: how it complains.

Every complaint is one line with what was expected and found, on standard error, with exit code 2.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_calls import ARRAYS, SCHEMA, complaint

import fl_deepcabac as dc
from fl_deepcabac.container import container_bytes


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], "expected the arguments COMMAND"),
        (
            ["explode"],
            "argument COMMAND: expected one of",
        ),
        (["compress", "in.npz"], "expected the arguments OUT"),
        (["inspect", "x", "--jsn"], "expected no more arguments, found --jsn"),
        (["compress", "a", "b", "--step", "big"], "expected a number, found 'big'"),
        (["compress", "a", "b", "--profile", "slow"], "expected fast or max, found 'slow'"),
        (["compress", "a", "b", "--step", "0"], "setting 'step': expected"),
        (["compress", "a", "b", "--step", "nan"], "setting 'step': expected"),
        (["compress", "a", "b", "--step", "1", "--relative-step", "1"], "not both"),
        (["compress", "a", "b", "--rd-lambda", "-1"], "setting 'rd_lambda': expected"),
        (["compress", "a", "b", "--step", "1", "--target-bytes", "9"], "not both"),
        (["compress", "a", "b", "--target-bytes", "9.5"], "expected an integer, found '9.5'"),
        (["simulate", "--target-bits-per-weight", "0"], "setting 'target_bits_per_weight'"),
        (["compress", "a", "b", "--step-override", "*"], "expected PATTERN=FACTOR, found '*'"),
        (["compress", "a", "b", "--step-override", "*=-1"], "setting 'step_overrides': expected"),
        (["simulate", "--task", "cifar"], "setting 'task': expected one of digits, fashion-mnist,"),
        (["simulate", "--task", "flwr-datasets"], "flwr-datasets:NAME, found 'flwr-datasets'"),
        (["simulate", "--model", "vgg"], "expected convnet, mlp, resnet8, transformer or lora"),
        (["simulate", "--optimizer", "lion"], "expected sgd or adamw, found 'lion'"),
        (["simulate", "--weight-decay", "-1"], "setting 'weight_decay': expected a number in [0,"),
        (["simulate", "--clients", "many"], "expected an integer, found 'many'"),
        (["simulate", "--clients", "0"], "setting 'clients': expected an integer in [1,"),
        (["simulate", "--rounds", "0"], "setting 'rounds': expected an integer in [1,"),
        (["simulate", "--alpha", "-0.5"], "setting 'alpha': expected a number in"),
        (["simulate", "--alpha", "some"], "expected a number, iid, natural or auto, found 'some'"),
        (["simulate", "--fraction", "0"], "setting 'fraction': expected"),
        (["simulate", "--fraction", "1.5"], "setting 'fraction': expected"),
        (["simulate", "--seed", "-1"], "setting 'seed': expected"),
        (["simulate", "--step", "-1"], "setting 'step': expected"),
        (["simulate", "--relative-step", "-1"], "setting 'relative_step': expected"),
        (["simulate", "--cl", "3"], "expected no more arguments, found --cl 3"),
        (["report", "/nowhere"], "expected a run folder with config.json, found none"),
    ],
)
def test_wrong_arguments_are_one_line(
    argv: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in complaint(capsys, *argv)


def zip_bytes(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def npz_bytes(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def npy_bytes(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


BROKEN_NPZ = {
    "nothing": (b"", "expected an .npz archive"),
    "text": (b"some text\n", "expected an .npz archive"),
    "npy": (npy_bytes(np.zeros(3)), "expected an .npz archive"),
    "cut": (npz_bytes(a=np.arange(100.0))[:300], "expected an .npz archive"),
    "pickle": (npz_bytes(a=np.array([{}], dtype=object)), "allow_pickle"),
    "not arrays": (zip_bytes({"readme.txt": b"hello"}), "'readme.txt', which is none"),
    "broken array": (zip_bytes({"a.npy": b"\x93NUMPY\x01\x00nonsense"}), "of plain arrays"),
    "no arrays": (zip_bytes({}), "expected"),
    "text array": (npz_bytes(a=np.array(["x"])), "expected one of the dtypes"),
    "complex array": (npz_bytes(a=np.zeros(3, np.complex64)), "expected one of the dtypes"),
    "nan": (npz_bytes(a=np.array([1.0, np.nan], np.float32)), "'a': expected finite values"),
    "infinity": (npz_bytes(a=np.array([np.inf])), "'a': expected finite values"),
    "too large": (npz_bytes(a=np.array([1e30, 0.0])), "use a larger step"),
}


@pytest.mark.parametrize(("content", "expected"), BROKEN_NPZ.values(), ids=BROKEN_NPZ.keys())
def test_compress_refuses_other_content(
    tmp_path: Path, content: bytes, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.npz").write_bytes(content)
    argv = ("compress", tmp_path / "in.npz", tmp_path / "out", "--step", "1e-6")
    assert expected in complaint(capsys, *argv)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 20, b"\xff" * 64, b"\x02\x00\x00\x00\x00\x00\x00\x00{}"]
)
def test_compress_refuses_broken_safetensors(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.safetensors").write_bytes(content)
    assert "expected" in complaint(capsys, "compress", tmp_path / "in.safetensors", tmp_path / "o")


def test_paths_that_cannot_be_used_are_named(
    npz: Path, packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere, folder = tmp_path / "nowhere", tmp_path / "folder.npz"
    folder.mkdir()
    for argv, path in (
        (("compress", nowhere.with_suffix(".npz"), "o"), nowhere.with_suffix(".npz")),
        (("compress", folder, "o"), folder),
        (("compress", npz, nowhere / "o"), nowhere / "o"),
        (("compress", npz, tmp_path), tmp_path),
        (("compress", npz, npz / "o"), npz / "o"),
        (("compress", npz, "/dev/full"), "/dev/full"),
        (("decompress", nowhere, tmp_path / "o.npz"), nowhere),
        (("decompress", packed, folder), folder),
        (("inspect", nowhere), nowhere),
        (("inspect", folder), folder),
    ):
        text = complaint(capsys, *argv)
        assert f"{path}: expected a path that can be used, found" in text


@pytest.mark.parametrize("name", ["in.txt", "in", "in.npz.gz"])
def test_other_endings_are_refused(
    packed: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = "expected a name ending in"
    (tmp_path / name).touch()
    assert expected in complaint(capsys, "compress", tmp_path / name, tmp_path / "out")
    assert expected in complaint(capsys, "decompress", packed, tmp_path / name)


def test_source_is_never_the_target(
    npz: Path, packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link, container, before = tmp_path / "link", tmp_path / "x.npz", npz.read_bytes()
    link.symlink_to(npz)
    container.write_bytes(packed.read_bytes())
    assert "found the same one" in complaint(capsys, "compress", npz, link)
    assert "found the same one" in complaint(capsys, "decompress", container, container)
    assert npz.read_bytes() == before
    assert container.read_bytes() == packed.read_bytes()


@pytest.mark.parametrize("name", ["other.npz", "other.safetensors"])
def test_compress_refuses_the_name_of_a_file_of_arrays(
    npz: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / name
    target.write_bytes(b"weeks of training")
    text = complaint(capsys, "compress", npz, target)
    assert f"{target}: expected the name of a compressed file, found one ending in" in text
    assert target.read_bytes() == b"weeks of training"


def test_every_shortened_container_is_refused(
    packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, cut = packed.read_bytes(), tmp_path / "cut"
    for n_bytes in range(0, len(content), 97):
        cut.write_bytes(content[:n_bytes])
        for argv in (("decompress", cut, tmp_path / "o.npz"), ("inspect", cut)):
            assert "expected" in complaint(capsys, *argv)
    assert not (tmp_path / "o.npz").exists()


def test_changed_packet_in_a_container_is_refused(
    packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed.write_bytes(packed.read_bytes()[:-1] + b"\x55")
    assert "expected" in complaint(capsys, "decompress", packed, tmp_path / "o.npz")
    assert "expected" in complaint(capsys, "inspect", packed)


def test_container_of_a_later_packet_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = dc.CodecConfig(step=0.01)
    encoder = dc.UpdateEncoder(SCHEMA, config)
    packets = [encoder.encode(ARRAYS).packet for _ in range(2)]
    (tmp_path / "x").write_bytes(container_bytes(packets[1], SCHEMA, config))
    assert "stream state" in complaint(capsys, "decompress", tmp_path / "x", tmp_path / "o.npz")


def test_inspect_with_another_schema_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x").write_bytes(dc.compress(ARRAYS, dc.CodecConfig(step=1.0)))
    (tmp_path / "other.npz").write_bytes(npz_bytes(w=np.zeros(3, np.float32)))
    assert "schema" in complaint(
        capsys, "inspect", tmp_path / "x", "--like", tmp_path / "other.npz"
    )


def test_missing_data_files_leave_no_run_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    argv = ("simulate", "--task", "fashion-mnist", "--data-dir", tmp_path / "none", "--out", out)
    assert "expected a folder with the four files of fashion-mnist" in complaint(capsys, *argv)
    assert not out.exists()


@pytest.mark.parametrize("n_rounds", [0, 1])
def test_interrupted_run_names_the_report_only_if_there_is_one(
    n_rounds: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(settings: object, codecs: object, folder: Path, console: object) -> None:
        del settings, codecs, console
        if n_rounds:
            (folder / "rounds.jsonl").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr("fl_deepcabac.cli.run_commands._run_all", interrupted)
    text = complaint(capsys, "simulate", "--out", tmp_path / "run", exit_code=130)
    assert ("fl-deepcabac report" in text) == bool(n_rounds)
    assert "interrupted" in text


@pytest.mark.parametrize("text", ["[" * 100_000, '{"settings": [1]}'])
def test_report_of_a_damaged_config_is_one_line(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    (tmp_path / "rounds.jsonl").touch()
    assert "config.json" in complaint(capsys, "report", tmp_path)


def test_run_folder_with_other_files_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").touch()
    assert "found 'thesis.tex' in it" in complaint(capsys, "simulate", "--out", tmp_path)


@pytest.mark.parametrize("package", ["torch", "ray", "matplotlib"])
def test_missing_package_names_the_extra(
    package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    text = complaint(capsys, "simulate")
    assert f"expected the Python package '{package}', found none" in text
    assert "fl-deepcabac[experiments]" in text
