# SPDX-License-Identifier: Apache-2.0
"""Where the values of each round go, besides the ledger: ``strategy.loggers = [...]``.

A logger is anything with `log_round` and `close`. Invariant: no logger can end a run, whatever it
raises; and importing this package imports none of TensorBoard, MLflow and wandb.
"""

from fl_deepcabac.flower.loggers.json_lines import JsonLinesLogger
from fl_deepcabac.flower.loggers.mlflow import MLflowLogger
from fl_deepcabac.flower.loggers.round_log import RoundLog, RoundLogger
from fl_deepcabac.flower.loggers.round_values import round_values
from fl_deepcabac.flower.loggers.tensorboard import TensorBoardLogger
from fl_deepcabac.flower.loggers.wandb import WandbLogger

__all__ = [
    "JsonLinesLogger",
    "MLflowLogger",
    "RoundLog",
    "RoundLogger",
    "TensorBoardLogger",
    "WandbLogger",
    "round_values",
]
