# SPDX-License-Identifier: Apache-2.0
"""What Flower and Ray read from the environment when they are imported.

A program that is the whole process, as the command line is, calls `quiet_environment` first; the
library itself leaves the environment alone. Whatever the user has set stays.
"""

from __future__ import annotations

import os

__all__ = ["quiet_environment"]

_DEFAULTS = {
    # A simulation on this machine has nothing to report to anyone.
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray warns of a change in how it treats workers without a GPU until told which way to take.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def quiet_environment() -> None:
    """Set, where unset, the variables that keep Flower and Ray from reporting and chatting."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
