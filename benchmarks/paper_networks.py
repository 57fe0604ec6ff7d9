# SPDX-License-Identifier: Apache-2.0
"""The networks of the tables in docs/model_compression.md: their weights, and how good they are.

LeNets are trained here, once for each folder; ResNets come with weights by others, named by files:

    FOLDER/resnet20_CIF10.npz, cifar10_test2k.npz, ResNet56_CIF100.npz, cifar100_test2k.npz
    FILE   mnist.npz with x_train, y_train, x_test, y_test
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fl_deepcabac.atomic_file import write_atomically
from fl_deepcabac.cli.array_files import read_arrays, write_arrays
from fl_deepcabac.experiments.paper_models import (
    LeNet5,
    LeNet300,
    PruningPlan,
    ResNet20,
    ResNet56,
    fisher_diagonal,
    precision,
    train_sparse,
)
from fl_deepcabac.experiments.tasks import Samples

__all__ = ["NETWORKS", "PaperNetwork", "Sources"]

Weights = dict[str, NDArray[Any]]
# Samples for the Fisher information, and the prior's precision: weights of unit deviation.
N_FISHER, PRIOR = 500, 1.0


@dataclass(frozen=True)
class Sources:
    """Where data and weights are, and where trained weights are kept."""

    mnist: Path
    weights: Path
    out: Path


@dataclass(frozen=True)
class PaperNetwork:
    """One network of a table.

    Parameters
    ----------
    model : Module
        Of the architecture; weights are put into it to be judged.
    weights : dict of str to ndarray
    test : Samples
    known : Samples
        For the Fisher information: not those of the test where others are there.
    n_trained : int
        Samples that it was trained on.
    """

    model: nn.Module
    weights: Weights
    test: Samples
    known: Samples
    n_trained: int

    def accuracy(self, weights: Weights) -> float:
        """Return the accuracy in per cent. Not for several threads at once."""
        self._put(weights)
        with torch.inference_mode():
            found = [
                (self.model(inputs).argmax(1) == labels).sum()
                for inputs, labels in zip(
                    self.test.inputs.split(100), self.test.labels.split(100), strict=True
                )
            ]
        return 100 * int(sum(found)) / len(self.test)

    def importance(self) -> Weights:
        """Return 1 / variance of each matrix' weights."""
        self._put(self.weights)
        fisher = fisher_diagonal(self.model, self.known.inputs[:N_FISHER])
        matrices = {name: own for name, own in fisher.items() if own.ndim > 1}
        return dict(precision(matrices, n_samples=self.n_trained, prior=PRIOR))

    def _put(self, weights: Weights) -> None:
        tensors = {name: torch.from_numpy(np.asarray(own)) for name, own in weights.items()}
        missing, surplus = self.model.load_state_dict(tensors, strict=False)
        counted = [name for name in missing if not name.endswith("num_batches_tracked")]
        if counted or surplus:
            raise ValueError(f"expected the tensors of the network, found {counted or surplus}")
        self.model.eval()


def _mnist(sources: Sources) -> tuple[Samples, Samples]:
    """Return training and test samples."""
    arrays = read_arrays(sources.mnist)
    train, test = (
        Samples(
            torch.from_numpy(arrays[f"x_{part}"].astype(np.float32) / 255)[:, None],
            torch.from_numpy(arrays[f"y_{part}"].astype(np.int64)),
        )
        for part in ("train", "test")
    )
    return train, test


def _lenet(
    name: str, build: Callable[[], nn.Module], plan: PruningPlan, sources: Sources
) -> PaperNetwork:
    """Train a LeNet, or find it trained."""
    train, test = _mnist(sources)
    path = sources.out / f"{name}.npz"
    note = path.with_suffix(".txt")
    torch.manual_seed(0)
    model = build()
    if not path.exists() or not note.exists() or note.read_text() != f"{plan}\n":
        train_sparse(model, train, plan, seed=0)
        write_arrays(path, {key: own.numpy() for key, own in model.state_dict().items()})
        write_atomically(note, f"{plan}\n".encode())
    return PaperNetwork(model, read_arrays(path), test, train, len(train))


def _resnet(
    build: Callable[[], nn.Module],
    files: tuple[str, str],
    mean: tuple[float, float, float],
    deviation: tuple[float, float, float],
    sources: Sources,
) -> PaperNetwork:
    """Read weights by others and the pictures to judge them with."""
    pictures = read_arrays(sources.weights / files[1])
    inputs = pictures["x_test"].astype(np.float32) / 255
    scaled = (inputs - np.float32(mean)) / np.float32(deviation)
    test = Samples(
        torch.from_numpy(scaled).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last),
        torch.from_numpy(pictures["y_test"].astype(np.int64)),
    )
    model = build().to(memory_format=torch.channels_last)
    # The training pictures are not there: the prediction's own classes on these, without labels.
    return PaperNetwork(model, read_arrays(sources.weights / files[0]), test, test, 50_000)


def _plan(density: float, dense: int, pruning: int, settling: int) -> PruningPlan:
    return PruningPlan(
        density=density, dense_epochs=dense, pruning_epochs=pruning, settling_epochs=settling
    )


NETWORKS: dict[str, Callable[[Sources], PaperNetwork]] = {
    "LeNet-300-100": lambda sources: _lenet("lenet300", LeNet300, _plan(1.0, 20, 0, 0), sources),
    "LeNet-300-100, sparse": lambda sources: _lenet(
        "lenet300-sparse", LeNet300, _plan(0.05, 5, 15, 20), sources
    ),
    "LeNet5": lambda sources: _lenet("lenet5", LeNet5, _plan(1.0, 15, 0, 0), sources),
    "LeNet5, sparse": lambda sources: _lenet(
        "lenet5-sparse", LeNet5, _plan(0.012, 4, 12, 12), sources
    ),
    "ResNet20": lambda sources: _resnet(
        ResNet20,
        ("resnet20_CIF10.npz", "cifar10_test2k.npz"),
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
        sources,
    ),
    "ResNet56": lambda sources: _resnet(
        ResNet56,
        ("ResNet56_CIF100.npz", "cifar100_test2k.npz"),
        (0.5071, 0.4865, 0.4409),
        (0.2673, 0.2564, 0.2762),
        sources,
    ),
}
