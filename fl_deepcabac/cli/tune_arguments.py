# SPDX-License-Identifier: Apache-2.0
"""What ``tune`` accepts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from fl_deepcabac.cli.readers import listed, number, one_of
from fl_deepcabac.config import Profile

__all__ = ["add_tune"]


def add_tune(commands: Any) -> None:
    """Describe ``tune``."""
    parser = commands.add_parser(
        "tune",
        allow_abbrev=False,
        help="show what steps cost on recorded updates, and recommend settings",
        description="Code the updates of one client at many steps, as a run would code them: in "
        "order, with the state kept and with error feedback. Several files are one update each; "
        "one file with arrays r0/NAME, r1/NAME, ... is a recorded stream. Without a goal, the "
        "settings of the three qualities are measured.",
    )
    parser.add_argument(
        "updates", type=Path, nargs="+", metavar="UPDATE", help=".npz or .safetensors, in order"
    )
    goals = parser.add_mutually_exclusive_group()
    goals.add_argument(
        "--ratio", type=number, metavar="R", help="find the finest step with at least this ratio"
    )
    goals.add_argument(
        "--bits",
        type=number,
        metavar="B",
        help="find the finest step with at most so many bits per weight",
    )
    goals.add_argument(
        "--max-error",
        type=number,
        metavar="E",
        help="find the coarsest step with at most this relative squared error",
    )
    parser.add_argument(
        "--profile",
        type=one_of(get_args(Profile)),
        metavar="NAME",
        help=f"{listed(get_args(Profile))} alone; both if unset",
    )
    parser.add_argument(
        "--no-error-feedback",
        dest="error_feedback",
        action="store_false",
        help="do not add what a packet left out to the next update",
    )
    parser.add_argument(
        "--all-weights",
        action="store_true",
        help="code updates of more than two million weights whole for the table too; slow",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
