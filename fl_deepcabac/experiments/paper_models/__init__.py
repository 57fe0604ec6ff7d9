# SPDX-License-Identifier: Apache-2.0
"""The networks of the paper's tables: made, trained sparse, and judged.

None is a task's: they are trained once, by one process, and then compressed whole.
"""

from fl_deepcabac.experiments.paper_models.cifar_resnets import ResNet20, ResNet56
from fl_deepcabac.experiments.paper_models.fisher import fisher_diagonal, precision
from fl_deepcabac.experiments.paper_models.lenets import LeNet5, LeNet300
from fl_deepcabac.experiments.paper_models.pruning import PruningPlan, train_sparse

__all__ = [
    "LeNet5",
    "LeNet300",
    "PruningPlan",
    "ResNet20",
    "ResNet56",
    "fisher_diagonal",
    "precision",
    "train_sparse",
]
