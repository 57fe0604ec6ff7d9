# SPDX-License-Identifier: Apache-2.0
"""Pictures of any data set of the Hugging Face Hub, by way of Flower's package flwr-datasets.

The first column of pictures and the first of classes are taken, and a column that says who made a
sample gives natural parts. The name may also be a folder that `datasets.load_dataset` reads, which
needs no connection. Sharing out is this package's own, so that equal settings mean the same here as
for every other task. Invariant: what does not fit is refused, never resized or relabelled.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from fl_deepcabac.experiments.models import picture_models
from fl_deepcabac.experiments.tasks import DataFileError, Samples, Task, TaskData, TrainingPlan

__all__ = ["make_task"]

# The first that there is; a fifth of the training samples otherwise.
TEST_SPLITS = ("test", "validation", "valid")
TEST_PART, SPLIT_SEED = 0.2, 0
# As in LEAF's data sets on the Hub.
MAKER_COLUMNS = ("writer_id", "speaker_id", "user_id", "client_id")
MIN_SIDE = 5


@lru_cache(maxsize=1)
def make_task(dataset: str, data_dir: Path | None) -> Task:
    """Return the task of a data set; reads it, as only its data tell what the models must take.

    Parameters
    ----------
    dataset : str
        Name on the Hub, or folder.
    data_dir : Path, optional
        Where Hugging Face keeps what it downloads.

    Returns
    -------
    Task

    Raises
    ------
    DataFileError
        If it cannot be had, or does not hold square pictures of one size, with classes.
    """
    splits = _load_splits(dataset, data_dir)
    picture, label, n_classes = _find_columns(dataset, splits[0].features)
    train, *rest = (_read_samples(dataset, split, picture, label) for split in splits)
    kept, left = np.arange(len(train)), np.arange(0)
    if not rest:
        kept, left = map(np.sort, _split(train.labels.numpy()))
    train, test = train.take(kept), rest[0] if rest else train.take(left)
    if test.inputs.shape[1:] != train.inputs.shape[1:]:
        shapes = [tuple(samples.inputs.shape[1:]) for samples in (train, test)]
        raise DataFileError(f"{dataset}: expected pictures of one size, found {shapes}")
    data = TaskData(train, test, parts=_find_parts(splits[0], kept))
    n_channels, side = train.inputs.shape[1:3]
    return Task(
        name=f"flwr-datasets:{dataset}",
        load_data=lambda _: data,
        models=picture_models(side=side, n_classes=n_classes, n_channels=n_channels),
        plan=TrainingPlan(
            local_epochs=1, max_steps=94, batch_size=64, learning_rate=0.03, momentum=0.9
        ),
    )


def _load_splits(dataset: str, data_dir: Path | None) -> list[Any]:
    """Return the training split, and one for the test if there is one."""
    try:
        from flwr_datasets import FederatedDataset  # noqa: PLC0415 (optional)
    except ImportError:
        raise DataFileError(
            "expected the package flwr-datasets, found none: pip install 'flwr-datasets[vision]'"
        ) from None
    options = {} if data_dir is None else {"cache_dir": str(data_dir)}
    try:
        federated = FederatedDataset(dataset=dataset, partitioners={}, shuffle=False, **options)
        splits = [federated.load_split("train")]
    except Exception as error:  # the libraries below have errors of their own, by version
        raise DataFileError(
            f"{dataset}: expected a data set of the Hugging Face Hub with a split 'train', found "
            f"{type(error).__name__}: {error}; the first use needs a connection"
        ) from error
    for name in TEST_SPLITS:
        try:
            return [*splits, federated.load_split(name)]
        except ValueError:  # how it says that there is none
            continue
    return splits


def _split(labels: NDArray[np.int64]) -> Any:
    """Return the indices that stay for training, and those for the test."""
    indices = np.arange(len(labels))
    return train_test_split(indices, test_size=TEST_PART, random_state=SPLIT_SEED, stratify=labels)


def _find_columns(dataset: str, features: Any) -> tuple[str, str, int]:
    """Return the names of the columns of pictures and classes, and the number of the latter."""
    kinds = {name: type(feature).__name__ for name, feature in features.items()}
    pictures = [name for name, kind in kinds.items() if kind == "Image"]
    labels = [name for name, kind in kinds.items() if kind == "ClassLabel"]
    if not pictures or not labels:
        raise DataFileError(
            f"{dataset}: expected a column of pictures (Image) and one of classes (ClassLabel), "
            f"found {kinds}"
        )
    return pictures[0], labels[0], int(features[labels[0]].num_classes)


def _read_samples(dataset: str, split: Any, picture: str, label: str) -> Samples:
    """Decode all pictures of a split."""
    columns = split.select_columns([picture, label]).with_format("numpy")[:]
    pixels = np.asarray(columns[picture])
    pixels = pixels[..., None] if pixels.ndim == 3 else pixels  # noqa: PLR2004 (gray pictures)
    n, *shape = pixels.shape
    is_square = len(shape) == 3 and shape[0] == shape[1] >= MIN_SIDE  # noqa: PLR2004
    if not n or not is_square or pixels.dtype != np.uint8:
        raise DataFileError(
            f"{dataset}: expected square pictures of one size, {MIN_SIDE} pixels or more, one byte "
            f"a channel, found an array of {pixels.dtype} of shape {pixels.shape}"
        )
    inputs = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32) / np.float32(255)
    labels = np.asarray(columns[label], np.int64)
    if labels.min() < 0:
        raise DataFileError(f"{dataset}: expected a class for each sample, found {labels.min()}")
    return Samples(torch.from_numpy(inputs), torch.from_numpy(labels))


def _find_parts(split: Any, kept: NDArray[np.int64]) -> list[NDArray[np.int64]] | None:
    """Return the training samples of each maker, if a column names makers."""
    for column in MAKER_COLUMNS:
        if column in split.features:
            makers = np.asarray(split.with_format(None)[column])[kept]
            return [np.flatnonzero(makers == maker) for maker in np.unique(makers)]
    return None
