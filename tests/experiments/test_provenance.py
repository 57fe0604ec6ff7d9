# SPDX-License-Identifier: Apache-2.0
"""What is kept of how a run was made: model, versions and machine."""

from __future__ import annotations

import json
import platform

import numpy as np
import torch

from fl_deepcabac import __version__
from fl_deepcabac.experiments.engine import available_cores
from fl_deepcabac.experiments.provenance import provenance_of
from fl_deepcabac.experiments.settings import RunSettings


def test_model_versions_and_machine_are_there() -> None:
    found = provenance_of(RunSettings(task="digits"))
    assert sorted(found) == ["machine", "model", "versions"]
    n_weights = sum(int(np.prod(tensor["shape"])) for tensor in found["model"])
    # 151 306 of the digits' CNN, as every page of a run states it.
    assert n_weights == 151_306
    assert found["versions"]["fl-deepcabac"] == __version__
    assert found["versions"]["numpy"] == np.__version__
    assert found["machine"]["cores"] == available_cores()
    assert found["machine"]["processor"]


def test_it_is_json_and_says_no_more_of_the_machine() -> None:
    found = json.loads(json.dumps(provenance_of(RunSettings(task="digits", model="mlp"))))
    assert sorted(found["machine"]) == ["cores", "processor", "system"]
    assert found["machine"]["system"] == f"{platform.system()} {platform.machine()}"


def test_torch_draws_the_same_numbers_after_it() -> None:
    before = torch.random.get_rng_state()
    provenance_of(RunSettings(task="digits"))
    assert torch.equal(torch.random.get_rng_state(), before)
