# SPDX-License-Identifier: Apache-2.0
"""DeepCABAC in Flower: a client mod and a strategy that is always outermost.

Client: ``ClientApp(mods=[deepcabac_mod])``. Server: ``DeepCABACStrategy(FedAvg(...))``. All
settings live on the server and travel with each train message; a message without them passes
through untouched, so that plain and compressing sides mix freely. Invariant: the inner strategy and
the ClientApp see ordinary messages with ordinary weights.
"""

from fl_deepcabac.flower.checkpoint import Checkpoint
from fl_deepcabac.flower.client import deepcabac_mod
from fl_deepcabac.flower.defaults import default_config
from fl_deepcabac.flower.downlink import DownlinkConfig
from fl_deepcabac.flower.ledger import CommunicationLedger, RoundRecord, Totals, Transfer
from fl_deepcabac.flower.records import IMPORTANCE_RECORD
from fl_deepcabac.flower.server import DeepCABACStrategyMixin
from fl_deepcabac.flower.wrapper import DeepCABACStrategy

__all__ = [
    "IMPORTANCE_RECORD",
    "Checkpoint",
    "CommunicationLedger",
    "DeepCABACStrategy",
    "DeepCABACStrategyMixin",
    "DownlinkConfig",
    "RoundRecord",
    "Totals",
    "Transfer",
    "deepcabac_mod",
    "default_config",
]
