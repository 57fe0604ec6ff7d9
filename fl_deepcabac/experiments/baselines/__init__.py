# SPDX-License-Identifier: Apache-2.0
"""Other methods to make updates small, to compare with; each as its own paper describes it.

A method turns an update into bytes and back (`method.Method`), one file each. `codec.BaselineCodec`
lets its bytes travel through Flower as ours do, and `catalogue.build_codec` makes one of plain
values. All is written from the papers; where a method leaves something open, the choice is the one
that costs it fewer bits. Importing this package imports neither torch nor flwr.
"""

from __future__ import annotations

from fl_deepcabac.experiments.baselines.method import Method

__all__ = ["Method"]
