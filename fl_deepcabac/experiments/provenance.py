# SPDX-License-Identifier: Apache-2.0
"""What a run was made with: the tensors that travel, versions of packages, the machine.

Kept beside every run, because times and the last bits of floats depend on it. Invariant: nothing
that names a person, a host or a path.
"""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path
from typing import Any, Final

from fl_deepcabac import __version__
from fl_deepcabac.experiments.client import task_of
from fl_deepcabac.experiments.engine import available_cores
from fl_deepcabac.experiments.settings import RunSettings
from fl_deepcabac.experiments.training import initial_model
from fl_deepcabac.experiments.travelling import travelling_weights

__all__ = ["provenance_of"]

_PACKAGES: Final = ("flwr", "ray", "torch", "numpy")
_CPUINFO: Final = Path("/proc/cpuinfo")


def provenance_of(settings: RunSettings) -> dict[str, Any]:
    """Return what a run with these settings is made with, here and now.

    Parameters
    ----------
    settings : RunSettings

    Returns
    -------
    dict of str to object
        JSON values: ``model``, a list of name and shape of each tensor that travels; ``versions``
        by package; ``machine``, with ``processor``, ``cores`` this process may use, and ``system``.
    """
    task = task_of(settings)
    # Leaves torch's own generator alone.
    model = initial_model(lambda: task.build_model(settings.model), seed=0)
    return {
        "model": [
            {"name": name, "shape": list(tensor.shape)}
            for name, tensor in travelling_weights(model).items()
        ],
        "versions": {
            "fl-deepcabac": __version__,
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
        "machine": {
            "processor": _processor(),
            "cores": available_cores(),
            "system": f"{platform.system()} {platform.machine()}",
        },
    }


def _processor() -> str:
    """Return what the processor calls itself; `platform` knows that on few systems."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
