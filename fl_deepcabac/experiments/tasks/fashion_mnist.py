# SPDX-License-Identifier: Apache-2.0
"""Fashion-MNIST: 70 000 gray pictures of clothing, 28 x 28 pixels, in ten classes [1]_.

References
----------
.. [1] H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking
   Machine Learning Algorithms", 2017.
"""

from __future__ import annotations

from functools import partial

from fl_deepcabac.experiments.idx_files import N_CLASSES, SIDE, load_pictures
from fl_deepcabac.experiments.models import picture_models
from fl_deepcabac.experiments.tasks import Task, TrainingPlan

__all__ = ["TASK"]

TASK = Task(
    name="fashion-mnist",
    load_data=partial(
        load_pictures,
        name="fashion-mnist",
        source="Debian's package dataset-fashion-mnist installs them",
    ),
    models=picture_models(side=SIDE, n_classes=N_CLASSES),
    plan=TrainingPlan(
        local_epochs=1, max_steps=94, batch_size=64, learning_rate=0.03, momentum=0.9
    ),
)
