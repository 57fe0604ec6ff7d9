# SPDX-License-Identifier: Apache-2.0
"""The command line, called as a function: what it does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_calls import ARRAYS, SCHEMA, complaint
from safetensors.numpy import load_file, save_file

import fl_deepcabac as dc
from fl_deepcabac.cli import main
from fl_deepcabac.container import read_container


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


def test_compress_alone_takes_a_finer_step_than_a_stream(
    npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "x.dcbc"
    assert main(["compress", str(npz), str(target)]) == 0
    assert read_container(target)[2].relative_step == 0.5
    assert "warning" not in capsys.readouterr().out


@pytest.mark.parametrize(("step", "is_lost"), [("0.001", False), ("100", True)])
def test_compress_says_what_part_of_the_update_is_lost(
    tmp_path: Path, step: str, is_lost: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "in.npz", tmp_path / "x.dcbc"
    # The counter travels exactly: it must not make the error look small.
    np.savez(source, w=ARRAYS["layer/weight"], counter=np.array(10**6))
    assert main(["compress", str(source), str(target), "--step", step]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + is_lost
    part = "100 %" if is_lost else "3 %"
    assert lines[0].endswith(f"({part} of the update's RMS)")
    assert all(text.startswith("warning: most of the update is lost") for text in lines[1:])


def test_compress_of_zeros_loses_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "in.npz", w=np.zeros(9, np.float32))
    assert main(["compress", str(tmp_path / "in.npz"), str(tmp_path / "x")]) == 0
    assert capsys.readouterr().out.endswith("(0 % of the update's RMS)\n")


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"fl-deepcabac {dc.__version__}\n"


def test_compress_says_when_the_budget_is_too_small(
    npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ("compress", npz, tmp_path / "x.dcbc", "--target-bytes", "20")
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


def test_safetensors_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    names = [f"layer{number}" for number in range(20)]
    save_file({name: np.ones(2, np.float32) for name in names}, tmp_path / "in.safetensors")
    assert main(["compress", str(tmp_path / "in.safetensors"), str(tmp_path / "x")]) == 0
    assert [spec.name for spec in read_container(tmp_path / "x")[1].tensors] == sorted(names)


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
    assert described["file_bytes"] == packed.stat().st_size
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


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    for command in ("simulate", "report", "compress", "decompress", "inspect"):
        assert command in shown
        with pytest.raises(SystemExit):
            main([command, "--help"])
