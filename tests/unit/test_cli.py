# SPDX-License-Identifier: Apache-2.0
"""The command line, called as a function: what it does, and how it complains.

Every complaint is one line with what was expected and found, on standard error, with exit code 2.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import fl_deepcabac as dc
from fl_deepcabac.cli import main
from fl_deepcabac.container import container_bytes, read_container

RNG = np.random.default_rng(5)
ARRAYS: dict[str, np.ndarray[Any, Any]] = {
    "layer/weight": RNG.normal(0, 0.01, (40, 30)).astype(np.float32),
    "layer/bias": RNG.normal(0, 0.01, 30).astype(np.float16),
    "file": RNG.normal(0, 1, (3, 4, 5)),
    "counter": np.array(12),
    "empty": np.zeros((0, 4), np.float32),
}
SCHEMA = dc.Schema.from_arrays(ARRAYS)


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    """Return an .npz file of `ARRAYS`."""
    path = tmp_path / "in.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in ARRAYS.items():
            with archive.open(f"{name}.npy", "w") as stream:
                np.lib.format.write_array(stream, array)
    return path


@pytest.fixture
def packed(npz: Path) -> Path:
    """Return the container of `ARRAYS`."""
    path = npz.with_name("in.dcbc")
    assert main(["compress", str(npz), str(path), "--step", "0.002"]) == 0
    return path


def complaint(capsys: pytest.CaptureFixture[str], *argv: str | Path, exit_code: int = 2) -> str:
    """Run a command that must fail, and return its one line."""
    capsys.readouterr()
    try:
        code: object = main([str(argument) for argument in argv])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    assert code == exit_code
    assert captured.out == ""
    assert captured.err.endswith("\n")
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("fl-deepcabac")
    return captured.err


# ------------------------------------------------------------------------------------- what it does


@pytest.mark.parametrize("options", [[], ["--relative-step", "0.5", "--profile", "max"]])
@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_compress_and_decompress_restore_the_decoded_arrays(
    npz: Path, tmp_path: Path, suffix: str, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    packed, restored = tmp_path / "x.dcbc", tmp_path / f"out{suffix}"
    assert main(["compress", str(npz), str(packed), *options]) == 0
    assert "bits per weight" in capsys.readouterr().out
    assert main(["decompress", str(packed), str(restored)]) == 0
    packet, schema, config = read_container(packed)
    assert schema == SCHEMA
    expected = dc.decompress(packet, schema, config)
    found = dict(np.load(restored)) if suffix == ".npz" else load_file(restored)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array), name


def test_compress_keeps_to_the_step(npz: Path, packed: Path, tmp_path: Path) -> None:
    main(["compress", str(npz), str(packed), "--step", "0.002", "--quantizer", "uniform"])
    main(["decompress", str(packed), str(tmp_path / "out.npz")])
    with np.load(tmp_path / "out.npz") as restored:
        for name in ("layer/weight", "file"):
            assert np.max(np.abs(restored[name] - ARRAYS[name])) <= 0.001001
        assert restored["counter"] == 12


def test_compress_keeps_to_a_budget(npz: Path, tmp_path: Path) -> None:
    target = tmp_path / "x.dcbc"
    assert main(["compress", str(npz), str(target), "--target-bytes", "400"]) == 0
    packet, _, config = read_container(target)
    assert 360 <= len(packet) <= 400
    assert config == dc.CodecConfig(target_bytes=400)
    assert main(["compress", str(npz), str(target), "--target-bits-per-weight", "2"]) == 0
    assert len(read_container(target)[0]) * 8 <= 2 * SCHEMA.n_elements


def test_compress_says_when_the_budget_is_too_small(
    npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["compress", npz, tmp_path / "x.dcbc", "--target-bytes", "20"]
    assert "expected at most 20 bytes" in complaint(capsys, *argv)


def test_step_overrides_keep_their_order(npz: Path, tmp_path: Path) -> None:
    target = tmp_path / "x.dcbc"
    overrides = ["--step-override", "*/bias=0.5", "--step-override", "layer*=2"]
    assert main(["compress", str(npz), str(target), "--step", "0.01", *overrides]) == 0
    config = read_container(target)[2]
    assert config.step_overrides == (("*/bias", 0.5), ("layer*", 2.0))


def test_compress_reads_safetensors(tmp_path: Path) -> None:
    save_file({"w": ARRAYS["layer/weight"]}, tmp_path / "in.safetensors")
    assert main(["compress", str(tmp_path / "in.safetensors"), str(tmp_path / "x")]) == 0
    assert [spec.name for spec in read_container(tmp_path / "x")[1].tensors] == ["w"]


def test_compress_takes_foreign_byte_order(tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", w=ARRAYS["layer/weight"].astype(">f4"))
    assert main(["compress", str(tmp_path / "in.npz"), str(tmp_path / "x")]) == 0
    assert read_container(tmp_path / "x")[1].tensors[0].dtype == "float32"


def test_decompress_writes_equal_files_for_equal_input(packed: Path, tmp_path: Path) -> None:
    contents = []
    for name in ("a.npz", "b.npz"):
        main(["decompress", str(packed), str(tmp_path / name)])
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]


def test_inspect_shows_header_and_tensors(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["inspect", str(packed)]) == 0
    shown = capsys.readouterr().out
    for expected in (SCHEMA.digest.hex(), "sequence number", "layer/weight", "40 x 30", "exact"):
        assert expected in shown


def test_inspect_json_adds_up(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["inspect", str(packed), "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    packet = read_container(packed)[0]
    report = described["report"]
    assert described["header"]["total_bytes"] == report["packet_bytes"] == len(packet)
    tensor_bytes = sum(tensor["n_bytes"] for tensor in report["tensors"])
    assert tensor_bytes + report["header_bytes"] == len(packet)
    assert described["config"]["step"] == 0.002
    assert [name for name, _, _ in described["schema"]] == list(ARRAYS)


def test_inspect_needs_a_schema_for_a_bare_packet(
    npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "packet"
    bare.write_bytes(dc.compress(ARRAYS, dc.CodecConfig(step=0.01, profile="max")))
    assert main(["inspect", str(bare)]) == 0
    assert "--like" in capsys.readouterr().out
    assert main(["inspect", str(bare), "--like", str(npz), "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["config"] is None
    assert len(described["report"]["tensors"]) == len(ARRAYS)


def test_inspect_says_that_a_later_packet_depends_on_earlier_ones(
    npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = dc.UpdateEncoder(SCHEMA, dc.CodecConfig(step=0.01))
    packets = [encoder.encode(ARRAYS).packet for _ in range(2)]
    (tmp_path / "packet").write_bytes(packets[1])
    assert main(["inspect", str(tmp_path / "packet"), "--like", str(npz)]) == 0
    assert "depend on the packets before this one" in capsys.readouterr().out


# ------------------------------------------------------------------------------ how it complains


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
        (["simulate", "--task", "cifar"], "expected digits or fashion-mnist, found 'cifar'"),
        (["simulate", "--clients", "many"], "expected an integer, found 'many'"),
        (["simulate", "--clients", "0"], "setting 'clients': expected an integer in [1,"),
        (["simulate", "--rounds", "0"], "setting 'rounds': expected an integer in [1,"),
        (["simulate", "--alpha", "-0.5"], "setting 'alpha': expected a number in"),
        (["simulate", "--alpha", "some"], "expected a number or iid, found 'some'"),
        (["simulate", "--fraction", "0"], "setting 'fraction': expected"),
        (["simulate", "--fraction", "1.5"], "setting 'fraction': expected"),
        (["simulate", "--seed", "-1"], "setting 'seed': expected"),
        (["simulate", "--step", "-1"], "setting 'relative_step': expected"),
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
        (("compress", npz, folder), folder),
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
    expected = "expected a name ending in .npz or .safetensors"
    (tmp_path / name).touch()
    assert expected in complaint(capsys, "compress", tmp_path / name, tmp_path / "out")
    assert expected in complaint(capsys, "decompress", packed, tmp_path / name)


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
    assert "expected a folder with the four Fashion-MNIST files" in complaint(capsys, *argv)
    assert not out.exists()


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


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    for command in ("simulate", "report", "compress", "decompress", "inspect"):
        assert command in shown
        with pytest.raises(SystemExit):
            main([command, "--help"])
