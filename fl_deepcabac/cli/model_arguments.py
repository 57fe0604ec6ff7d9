# SPDX-License-Identifier: Apache-2.0
"""What ``model`` accepts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from fl_deepcabac.cli.readers import integer, listed, number, one_of, override
from fl_deepcabac.config import Profile
from fl_deepcabac.models.steps import VECTOR_STEP

__all__ = ["add_model"]

METHODS = ("dc-v1", "dc-v2")


def add_model(commands: Any) -> None:
    """Describe ``model compress | decompress | inspect``."""
    parser = commands.add_parser(
        "model",
        allow_abbrev=False,
        help="compress the weights of a trained model, or search for how far that goes",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_compress(actions)
    decompress = actions.add_parser("decompress", allow_abbrev=False, help="restore the weights")
    decompress.add_argument("source", type=Path, metavar="IN", help="file of model compress")
    decompress.add_argument("target", type=Path, metavar="OUT", help=".npz or .safetensors")
    _add_limit(decompress)
    inspect = actions.add_parser(
        "inspect", allow_abbrev=False, help="show what each tensor of a compressed model takes"
    )
    inspect.add_argument("packet", type=Path, metavar="MODEL", help="file of model compress")
    inspect.add_argument("--json", action="store_true", help="print one JSON object")


def _add_limit(parser: Any) -> None:
    parser.add_argument(
        "--max-weights",
        type=integer,
        metavar="N",
        help="refuse models with more weights; for files of strangers, which may name any number",
    )


def _add_compress(actions: Any) -> None:
    parser = actions.add_parser(
        "compress",
        allow_abbrev=False,
        help="compress weights",
        description="Compress weights with given steps, or, with --search, with the coarsest ones "
        "that keep the accuracy: MODULE:FUNCTION takes a dict of arrays and returns per cent.",
    )
    parser.add_argument("source", type=Path, metavar="IN", help=".safetensors, .npz, .pt or .pth")
    parser.add_argument("target", type=Path, metavar="OUT", help="file to write, MODEL.dcbc")
    rates = parser.add_mutually_exclusive_group()
    rates.add_argument("--step", type=number, metavar="D", help="the same step for all matrices")
    rates.add_argument(
        "--relative-step",
        type=number,
        metavar="K",
        help="step in RMS of each matrix; 0.25 if unset",
    )
    rates.add_argument("--target-bytes", type=integer, metavar="N", help="most bytes of the file")
    rates.add_argument(
        "--search", metavar="MODULE:FUNCTION", help="find the smallest file of the same accuracy"
    )
    parser.add_argument(
        "--profile", type=one_of(get_args(Profile)), default="max", metavar="NAME",
        help=listed(get_args(Profile)),
    )  # fmt: skip
    parser.add_argument("--rd-lambda", type=number, metavar="L", help="price of a bit")
    parser.add_argument(
        "--vector-step",
        type=number,
        default=VECTOR_STEP,
        metavar="K",
        help=f"step of biases, scales and running statistics in RMS of each; {VECTOR_STEP:g}",
    )
    parser.add_argument(
        "--step-override",
        dest="step_overrides",
        type=override,
        action="append",
        metavar="PATTERN=FACTOR",
        help="factor on the step of the tensors of that name; the first match wins, repeatable",
    )
    parser.add_argument(
        "--importance", type=Path, metavar="FILE", help="what the error of each weight counts"
    )
    parser.add_argument("--threads", type=integer, default=1, metavar="N", help="at most so many")
    found = parser.add_argument_group("with --search")
    found.add_argument(
        "--method",
        type=one_of(METHODS),
        metavar="NAME",
        help=f"{listed(METHODS)}; dc-v2 if unset, dc-v1 needs --importance",
    )
    found.add_argument(
        "--tolerance", type=number, metavar="P",
        help="points of accuracy that may be lost; 0.1 if unset",
    )  # fmt: skip
    found.add_argument(
        "--jobs",
        type=integer,
        metavar="N",
        help="evaluations at a time, on threads; 1 if unset, as it must be for a function that "
        "puts all weights into one model",
    )
    found.add_argument(
        "--log", type=Path, metavar="FILE", help="keep evaluations there, and go on from them"
    )
