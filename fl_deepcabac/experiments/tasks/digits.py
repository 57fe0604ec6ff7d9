# SPDX-License-Identifier: Apache-2.0
"""Handwritten digits of 8 x 8 pixels, shipped with scikit-learn: the task that needs no files.

1797 samples; a stratified fifth is kept for the test, and the split never changes, so that runs
with different seeds are judged on the same samples.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from fl_deepcabac.experiments.models import picture_models
from fl_deepcabac.experiments.tasks import Samples, Task, TaskData, TrainingPlan

__all__ = ["TASK"]

TEST_PART = 0.2
SPLIT_SEED = 0
BRIGHTEST = 16.0  # pixels count 0 to 16


def _load_data(data_dir: Path | None) -> TaskData:
    """Return the digits; the data ships with the library, so a folder has no say."""
    del data_dir
    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 1, 8, 8) / BRIGHTEST).astype(np.float32)
    parts = train_test_split(
        images, labels, test_size=TEST_PART, random_state=SPLIT_SEED, stratify=labels
    )
    train_images, test_images, train_labels, test_labels = map(torch.from_numpy, parts)
    return TaskData(Samples(train_images, train_labels), Samples(test_images, test_labels))


TASK = Task(
    name="digits",
    load_data=_load_data,
    models=picture_models(side=8, n_classes=10),
    plan=TrainingPlan(local_epochs=2, batch_size=16, learning_rate=0.05, momentum=0.9),
)
