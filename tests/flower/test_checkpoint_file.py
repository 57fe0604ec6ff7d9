# SPDX-License-Identifier: Apache-2.0
"""Checkpoint files: values come back as they were, and damage is noticed before it does any."""

from __future__ import annotations

import gc
import io
import json
import random
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flower.downlink_run import bytes_of
from flower.test_checkpoint import CODEC, comparable, make_grid, model
from flower.toy import arrays_of
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord
from flwr.serverapp.strategy import FedAdam

from fl_deepcabac import CheckpointError, DeepCabacError, UnsupportedVersionError
from fl_deepcabac.flower import DeepCABACStrategy, DownlinkConfig
from fl_deepcabac.flower.checkpoint_file import CheckpointReader, CheckpointWriter, encode_value

VALUES: list[Any] = [
    None,
    True,
    -(2**70),
    0.1,
    float("-inf"),
    -0.0,
    "word",
    b"",
    b"short",
    bytes(range(256)),
    [1, [2.5, None]],
    (1, (b"x",)),
    {"a": 1, 2: (3,), (4, 5): None, None: []},
    np.float64(0.1),
    np.bool_(1),
    np.int8(-3),
    ArrayRecord({"w": Array(np.arange(6.0).reshape(2, 3)), "n": Array(np.array(4))}),
    ArrayRecord({"0": Array("uint8", (3,), "other", b"abc")}),
    MetricRecord({"a": 1, "b": [0.5, 1.5]}),
    ConfigRecord({"a": "x", "b": b"y" * 100, "c": [True]}),
]


def write(path: Path, **sections: Any) -> None:
    with path.open("wb") as file:
        writer = CheckpointWriter(file)
        writer.finish({name: writer.encode(value) for name, value in sections.items()})


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_value_comes_back_as_it_was(tmp_path: Path, value: Any) -> None:
    write(tmp_path / "x", value=value)
    with CheckpointReader(tmp_path / "x") as reader:
        found = reader.decode(reader.sections["value"])
    assert type(found) is type(value)
    assert found == value
    assert repr(found) == repr(value)


@pytest.mark.parametrize("dtype", ["f2", "f4", ">f8", "i1", "u8", "?", "c8"])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_array_comes_back_as_it_was(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    value = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    write(tmp_path / "x", value=value.T)
    with CheckpointReader(tmp_path / "x") as reader:
        found = reader.decode(reader.sections["value"])
    np.testing.assert_array_equal(found, value.T)
    assert found.dtype == value.dtype
    assert found.flags.writeable


@pytest.mark.parametrize(
    "value",
    [object(), {1, 2}, np.array([None]), np.array("x"), [lambda: 0], Path()],
    ids=["object", "set", "array of objects", "array of words", "function", "path"],
)
def test_value_without_a_rule_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="expected"):
        encode_value(value, lambda _: "")


def test_equal_content_is_there_once(tmp_path: Path) -> None:
    weights = np.ones(1000, np.float32)
    write(tmp_path / "x", a=weights, b=weights.copy(), c=[weights, weights.tobytes()])
    assert len(zipfile.ZipFile(tmp_path / "x").namelist()) == 2


def test_full_disk_leaves_no_archive_to_the_garbage_collector() -> None:
    class Full(io.BytesIO):
        def write(self, _: Any, /) -> int:
            raise OSError(28, "No space left on device")

    file = Full()
    with pytest.raises(OSError, match="No space left"), CheckpointWriter(file) as writer:
        writer.keep(b"blob")
    file.close()
    # What is raised in there would fail the test.
    del writer
    gc.collect()


@cache
def trained() -> DeepCABACStrategy:
    strategy = build()
    strategy.start(make_grid(), model(), num_rounds=2)
    return strategy


@pytest.fixture
def whole(tmp_path: Path) -> bytes:
    """Return a checkpoint."""
    path = tmp_path / "whole"
    trained().save(path)
    return path.read_bytes()


def build() -> DeepCABACStrategy:
    counts = {"min_available_nodes": 4, "min_train_nodes": 4, "min_evaluate_nodes": 4}
    return DeepCABACStrategy(FedAdam(**counts, eta=0.01), CODEC, downlink=DownlinkConfig())


def parts_of(strategy: DeepCABACStrategy) -> list[Any]:
    """Return all that a checkpoint brings back."""
    endpoint, keeper = strategy._codec_endpoint, strategy._codec_checkpoints
    states = sorted((node, saved.read()) for node, _, saved in endpoint.states.items())
    memory = keeper._memory.take() if keeper._arrays is not None else []
    arrays = {} if keeper._arrays is None else bytes_of(arrays_of(keeper._arrays))
    plain = (states, memory, endpoint.models.to_plain(), keeper.dtypes.to_plain())
    encoded = [encode_value(value, bytes.hex) for value in plain]
    return [arrays, encoded, keeper.rounds_before, comparable(strategy)]


def load_or_refuse(content: bytes, path: Path) -> bool:
    """Load a damaged file: it must be refused without a trace, or be as good as the whole one."""
    path.write_bytes(content)
    strategy = build()
    before = parts_of(strategy)
    try:
        strategy.load(path)
    except DeepCabacError:
        assert parts_of(strategy) == before
        return False
    return True


def test_flipped_bits_are_noticed_or_without_effect(tmp_path: Path, whole: bytes) -> None:
    content = whole
    expected = build()
    (tmp_path / "good").write_bytes(content)
    expected.load(tmp_path / "good")
    rng = random.Random(0)
    n_noticed, offsets = 0, rng.sample(range(len(content)), 300)
    for offset in (*offsets, *range(len(content) - 22, len(content))):
        damaged = bytearray(content)
        damaged[offset] ^= 1 << rng.randrange(8)
        path = tmp_path / "x"
        if load_or_refuse(bytes(damaged), path):
            strategy = build()
            strategy.load(path)
            assert parts_of(strategy) == parts_of(expected), offset
        else:
            n_noticed += 1
    # A few bytes of an archive, such as dates, mean nothing.
    assert n_noticed > 240


def test_every_shortened_file_is_refused(tmp_path: Path, whole: bytes) -> None:
    content = whole
    rng = random.Random(1)
    lengths = [0, 1, 21, 22, len(content) - 1, *(rng.randrange(len(content)) for _ in range(60))]
    for length in lengths:
        assert not load_or_refuse(content[:length], tmp_path / "x"), length


def repack(
    content: bytes,
    change: Callable[[dict[str, Any]], None],
    *,
    compression: int = zipfile.ZIP_STORED,
) -> bytes:
    """Return the archive with another manifest, all checksums right."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(out, "w", compression) as new,
    ):
        for name in old.namelist():
            member = old.read(name)
            if name == "manifest.json":
                manifest = json.loads(member)
                change(manifest)
                member = json.dumps(manifest).encode()
            new.writestr(name, member)
    return out.getvalue()


BAD_MANIFESTS: dict[str, Any] = {
    "format": "another",
    "version": 0,
    "server_round": "1",
    "profile": ["fast"],
    "arrays": None,
    "dtypes": {"w": "nonsense"},
    "states": [[1, "00", "zz", "none"]],
    "models": {"dict": [["broadcast", 1]]},
    "memory": {"list": []},
    "ledger": {"list": [{"bytes": ["", "00"]}]},
}


@pytest.mark.parametrize("section", BAD_MANIFESTS)
def test_section_of_another_kind_is_refused(tmp_path: Path, whole: bytes, section: str) -> None:
    if section == "profile":
        # Any other profile is one of states that cannot be used.
        assert load_or_refuse(repack(whole, lambda m: m.update(profile="max")), tmp_path / "x")
        return
    bad = repack(whole, lambda m: m.update({section: BAD_MANIFESTS[section]}))
    assert not load_or_refuse(bad, tmp_path / "x")
    bad = repack(whole, lambda m: m.pop(section))
    assert not load_or_refuse(bad, tmp_path / "x")


@pytest.mark.parametrize(
    "value",
    [
        {"array": ["<f4", [2**40], "none"]},
        {"array": ["O", [1], "none"]},
        {"nothing": 1},
        {"dict": [[{"list": []}, 1]]},
        {"a": 1, "b": 2},
        {"float": "x"},
        {"ArrayRecord": [[1]]},
        {"MetricRecord": [["a", {"bytes": ["", "00"]}]]},
        {"bytes": ["../../etc/passwd"]},
    ],
    ids=str,
)
def test_value_of_no_kind_is_refused(tmp_path: Path, value: Any) -> None:
    write(tmp_path / "x")
    content = repack((tmp_path / "x").read_bytes(), lambda m: m.update(value=value))
    (tmp_path / "x").write_bytes(content)
    with CheckpointReader(tmp_path / "x") as reader, pytest.raises(CheckpointError):
        reader.decode(reader.sections["value"])


def test_newer_version_asks_for_an_upgrade(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(repack(whole, lambda m: m.update(version=2)))
    with pytest.raises(UnsupportedVersionError, match="upgrade"):
        build().load(path)


def test_compressed_archive_is_refused_before_it_unfolds(tmp_path: Path, whole: bytes) -> None:
    bomb = repack(whole, lambda _: None, compression=zipfile.ZIP_DEFLATED)
    assert not load_or_refuse(bomb, tmp_path / "x")


def test_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        build().load(tmp_path / "none")
    (tmp_path / "x").write_bytes(b"PK nonsense")
    with pytest.raises(CheckpointError, match=f"checkpoint {tmp_path / 'x'}: expected a ZIP"):
        build().load(tmp_path / "x")
