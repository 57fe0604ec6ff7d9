# SPDX-License-Identifier: Apache-2.0
"""Data sets of the Hugging Face Hub, with a stand-in for flwr-datasets: no connection is needed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fl_deepcabac.experiments.client import load_partitioned
from fl_deepcabac.experiments.settings import RunSettings, SettingsError
from fl_deepcabac.experiments.tasks import DataFileError, get_task
from fl_deepcabac.experiments.tasks.flwr_datasets import make_task

NAME = "flwr-datasets:someone/pictures"


class Image:
    """Stands for the feature of that name."""


class Value:
    """Stands for the feature of that name."""


class ClassLabel:
    """Stands for the feature of that name."""

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes


class Split:
    """As much of a `datasets.Dataset` as is made use of."""

    def __init__(self, features: dict[str, Any], columns: dict[str, Any]) -> None:
        self.features = features
        self._columns = columns

    def select_columns(self, names: list[str]) -> Split:
        return Split(self.features, {name: self._columns[name] for name in names})

    def with_format(self, kind: str | None) -> Split:
        assert kind in {"numpy", None}
        return self

    def __getitem__(self, key: Any) -> Any:
        return self._columns[key] if isinstance(key, str) else self._columns


def split_of(n: int, shape: tuple[int, ...] = (8, 8), **changes: Any) -> Split:
    """Return `n` pictures of three classes, made by four writers."""
    rng = np.random.default_rng(n)
    columns = {
        "note": ["x"] * n,
        "image": rng.integers(0, 256, (n, *shape), dtype=np.uint8),
        "label": np.arange(n) % 3,
        "coarse": np.arange(n) % 2,
        "writer_id": [f"w{index % 4}" for index in range(n)],
    }
    features: dict[str, Any] = {"note": Value(), "image": Image(), "label": ClassLabel(3)}
    features |= {"coarse": ClassLabel(2), "writer_id": Value()}
    return Split(features, columns | changes)


class Hub:
    """Stands for the package: hands out splits, and notes how it was asked."""

    def __init__(self, **splits: Split) -> None:
        self.splits = splits
        self.asked: list[dict[str, Any]] = []

    def __call__(self, **options: Any) -> Hub:
        self.asked.append(options)
        return self

    def load_split(self, name: str) -> Split:
        if name not in self.splits:
            raise ValueError(f"The given split: '{name}' is not present")
        return self.splits[name]


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub(train=split_of(24), test=split_of(9))
    monkeypatch.setitem(sys.modules, "flwr_datasets", SimpleNamespace(FederatedDataset=made))
    make_task.cache_clear()
    load_partitioned.cache_clear()
    yield made
    make_task.cache_clear()
    load_partitioned.cache_clear()


def test_pictures_and_classes_are_found(hub: Hub, tmp_path: Path) -> None:
    task = get_task(NAME, tmp_path)
    data = task.load_data(None)
    assert task.name == NAME
    assert data.train.inputs.shape == (24, 1, 8, 8)
    assert data.train.inputs.dtype == torch.float32
    assert 0.9 < float(data.train.inputs.max()) <= 1.0
    assert data.test.labels.tolist() == [0, 1, 2] * 3
    assert task.build_model()(data.test.inputs).shape == (9, 3)
    assert hub.asked == [
        {
            "dataset": "someone/pictures",
            "partitioners": {},
            "shuffle": False,
            "cache_dir": str(tmp_path),
        }
    ]
    assert get_task(NAME, tmp_path) is task


def test_coloured_pictures_keep_their_channels(hub: Hub) -> None:
    hub.splits = {"train": split_of(24, (6, 6, 3)), "test": split_of(9, (6, 6, 3))}
    task = get_task(NAME)
    data = task.load_data(None)
    assert data.train.inputs.shape == (24, 3, 6, 6)
    pixels = hub.splits["train"]["image"]
    assert torch.equal(data.train.inputs[4, 2] * 255, torch.from_numpy(pixels[4, :, :, 2]).float())
    assert task.build_model("resnet8")(data.test.inputs).shape == (9, 3)


@pytest.mark.parametrize("name", ["validation", "valid"])
def test_other_names_of_the_test_are_known(name: str, hub: Hub) -> None:
    hub.splits[name] = hub.splits.pop("test")
    assert len(get_task(NAME).load_data(None).test) == 9


def test_a_fifth_is_kept_where_there_is_no_test(hub: Hub) -> None:
    del hub.splits["test"]
    hub.splits["train"] = split_of(60)
    data = get_task(NAME).load_data(None)
    assert (len(data.train), len(data.test)) == (48, 12)
    assert torch.bincount(data.test.labels).tolist() == [4, 4, 4]
    assert data.parts is not None
    assert sorted(index for part in data.parts for index in part) == list(range(48))


def test_writers_are_natural_parts_and_labels_may_be_skewed() -> None:
    natural = RunSettings(task=NAME, clients=3, alpha="natural")
    data, parts = load_partitioned(natural)
    assert data.parts is not None
    assert [part.tolist() for part in data.parts] == [[*range(n, 24, 4)] for n in range(4)]
    assert len(parts) == 3
    _, parts = load_partitioned(RunSettings(task=NAME, clients=3, alpha=0.5))
    assert sum(len(part) for part in parts) == 24


def test_without_writers_there_are_no_natural_parts(hub: Hub) -> None:
    del hub.splits["train"].features["writer_id"]
    with pytest.raises(SettingsError, match=r"'alpha': expected a number or iid, .* of its own"):
        load_partitioned(RunSettings(task=NAME, clients=3, alpha="natural"))


@pytest.mark.parametrize(
    ("train", "complaint"),
    [
        (Split({"text": Value()}, {}), "a column of pictures .*, found {'text': 'Value'}"),
        (Split({"image": Image(), "label": Value()}, {}), "one of classes"),
        (split_of(24, (8, 9)), r"expected square pictures .* of uint8 of shape \(24, 8, 9, 1\)"),
        (split_of(24, (4, 4)), "5 pixels or more"),
        (split_of(24, image=np.zeros((24, 8, 8), np.int32)), "one byte a channel, .* of int32"),
        (split_of(24, image=np.array([np.zeros((8, 8)), 0], dtype=object)), "array of object"),
        (split_of(24, label=np.full(24, -1)), "expected a class for each sample, found -1"),
        (split_of(24, (10, 10)), r"expected pictures of one size, found \[\(1, 10, 10\), \(1, 8,"),
    ],
)
def test_what_does_not_fit_is_refused(train: Split, complaint: str, hub: Hub) -> None:
    hub.splits["train"] = train
    with pytest.raises(
        DataFileError, match=f"someone/pictures: expected .*{complaint}|{complaint}"
    ):
        get_task(NAME)


def test_no_connection_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> None:
        raise ConnectionError("Couldn't reach 'someone/pictures' on the Hub")

    monkeypatch.setitem(sys.modules, "flwr_datasets", SimpleNamespace(FederatedDataset=fail))
    complaint = r"found ConnectionError: Couldn't reach .*; the first use needs a connection"
    with pytest.raises(DataFileError, match=complaint):
        get_task(NAME)


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flwr_datasets", None)
    with pytest.raises(DataFileError, match=r"pip install 'flwr-datasets\[vision\]'"):
        load_partitioned(RunSettings(task=NAME))
