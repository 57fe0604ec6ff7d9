# SPDX-License-Identifier: Apache-2.0
"""What the command line accepts.

The parser checks what a number or a name is; what values mean is checked by `RunSettings` and
`CodecConfig`, once for the command line and the library alike. Invariant: a complaint is one line.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn, get_args

from fl_deepcabac import __version__
from fl_deepcabac.config import RATE_SETTINGS, Allocation, CodecConfig, Profile, QuantizerName
from fl_deepcabac.experiments.settings import STRATEGY_NAMES, TASK_NAMES, RunSettings

__all__ = ["FILE_RELATIVE_STEP", "PROGRAM", "build_parser", "codec_config_of", "run_settings_of"]

PROGRAM = "fl-deepcabac"

# The step of `compress` if none is given. The default of the package is for streams, where error
# feedback sends later what one update leaves out; a single file has no later.
FILE_RELATIVE_STEP = 0.5

# What argparse says by itself, and how this program says it.
_REWORDED = (
    ("the following arguments are required:", "expected the arguments"),
    ("unrecognized arguments:", "expected no more arguments, found"),
    (r"invalid choice: (.*) \(choose from (.*)\)", r"expected one of \2, found \1"),
)


class _OneLineParser(argparse.ArgumentParser):
    """A parser whose complaints are one line and name what was expected."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        for theirs, ours in _REWORDED:
            message = re.sub(theirs, ours, message)
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line.

    Returns
    -------
    ArgumentParser
        Its result has `command` and the arguments of that command.
    """
    purpose = "DeepCABAC compression of model updates for federated learning."
    parser = _OneLineParser(prog=PROGRAM, description=purpose, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_simulate(commands)
    _add_report(commands)
    _add_compress(commands)
    _add_decompress(commands)
    _add_inspect(commands)
    return parser


def codec_config_of(arguments: argparse.Namespace) -> CodecConfig:
    """Return the codec settings that the arguments describe.

    Raises
    ------
    ConfigError
        If a value is out of range, or more than one of steps and targets is given.
    """
    given = {
        name: getattr(arguments, name)
        for name in (
            *RATE_SETTINGS,
            "profile",
            "quantizer",
            "rd_lambda",
            "dead_zone",
            "allocation",
            "step_overrides",
        )
        if getattr(arguments, name) is not None
    }
    return CodecConfig(**given, error_feedback=getattr(arguments, "error_feedback", True))


def run_settings_of(arguments: argparse.Namespace) -> RunSettings:
    """Return the settings of the runs that the arguments describe.

    Raises
    ------
    SettingsError
        If a value is out of range.
    """
    given = {field.name: getattr(arguments, field.name) for field in fields(RunSettings)}
    given["alpha"] = None if arguments.alpha == "iid" else arguments.alpha
    given["data_dir"] = arguments.data_dir and str(arguments.data_dir.absolute())
    return RunSettings(**given)


def _add_simulate(commands: Any) -> None:
    """Describe ``simulate``."""
    parser = commands.add_parser(
        "simulate",
        allow_abbrev=False,
        help="train with simulated clients, without and with compression",
        description="Train a model in Flower's simulation engine, once uncompressed and once "
        "compressed, and write a run folder with rounds.jsonl, savings.png and report.html. "
        "The two runs differ in nothing but the codec.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    defaults = RunSettings()
    run = parser.add_argument_group("the run")
    run.add_argument(
        "--task", type=_one_of(TASK_NAMES), default=defaults.task, help=_listed(TASK_NAMES)
    )
    run.add_argument("--data-dir", type=Path, metavar="DIR", help="files of the task")
    run.add_argument(
        "--clients", type=_integer, default=defaults.clients, metavar="N", help="nodes"
    )
    run.add_argument("--rounds", type=_integer, default=defaults.rounds, metavar="N", help="rounds")
    run.add_argument(
        "--alpha",
        type=_alpha,
        default=defaults.alpha,
        metavar="A",
        help="Dirichlet concentration of the label skew, or iid",
    )
    run.add_argument(
        "--fraction",
        type=_number,
        default=defaults.fraction,
        metavar="F",
        help="part of the clients that takes part in a round",
    )
    run.add_argument(
        "--seed", type=_integer, default=defaults.seed, metavar="S", help="of everything"
    )
    run.add_argument(
        "--strategy",
        type=_one_of(STRATEGY_NAMES),
        default=defaults.strategy,
        help=_listed(STRATEGY_NAMES),
    )
    run.add_argument("--no-baseline", action="store_true", help="leave the uncompressed run out")
    run.add_argument(
        "--workers", type=_integer, metavar="N", help="processes; one per core if unset"
    )
    run.add_argument(
        "--out", type=Path, metavar="DIR", help="run folder; a new one under runs/ if unset"
    )
    training = parser.add_argument_group("training on each client; unset: what suits the task")
    training.add_argument("--local-epochs", type=_integer, metavar="N", help="passes per round")
    training.add_argument(
        "--max-steps", type=_integer, metavar="N", help="steps per round, at most"
    )
    training.add_argument("--batch-size", type=_integer, metavar="N", help="samples per step")
    training.add_argument("--learning-rate", type=_number, metavar="R", help="of SGD with momentum")
    codec = _add_codec(parser)
    codec.add_argument(
        "--step",
        "--relative-step",
        dest="relative_step",
        type=_number,
        metavar="K",
        help="quantiser step, in RMS of each tensor's update",
    )
    codec.add_argument(
        "--absolute-step",
        dest="step",
        type=_number,
        metavar="D",
        help="the same step for all tensors",
    )
    codec.add_argument(
        "--no-error-feedback",
        dest="error_feedback",
        action="store_false",
        help="do not add what quantisation left out to the next update",
    )
    codec.add_argument(
        "--downlink",
        action="store_true",
        help="compress the model on its way to the clients, too",
    )
    codec.add_argument(
        "--downlink-step",
        type=_number,
        metavar="K",
        help="the same with this step, in RMS of what the global model moved by",
    )


def _add_report(commands: Any) -> None:
    """Describe ``report``."""
    parser = commands.add_parser(
        "report",
        allow_abbrev=False,
        help="make savings.png and report.html of a run folder anew",
    )
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="folder that simulate wrote")


def _add_compress(commands: Any) -> None:
    """Describe ``compress``."""
    parser = commands.add_parser(
        "compress",
        allow_abbrev=False,
        help="compress the arrays of a file into one that stands alone",
    )
    parser.add_argument("source", type=Path, metavar="IN", help=".npz or .safetensors")
    parser.add_argument("target", type=Path, metavar="OUT", help="file to write")
    codec = _add_codec(parser)
    codec.add_argument("--step", type=_number, metavar="D", help="the same step for all tensors")
    codec.add_argument(
        "--relative-step",
        type=_number,
        metavar="K",
        help=f"step in RMS of each tensor; {FILE_RELATIVE_STEP:g} if neither a step nor a target "
        "is given: finer than in training, as no later update makes up for the error",
    )


def _add_decompress(commands: Any) -> None:
    """Describe ``decompress``."""
    parser = commands.add_parser(
        "decompress", allow_abbrev=False, help="restore the arrays of a file that compress wrote"
    )
    parser.add_argument("source", type=Path, metavar="IN", help="file that compress wrote")
    parser.add_argument("target", type=Path, metavar="OUT", help=".npz or .safetensors")


def _add_inspect(commands: Any) -> None:
    """Describe ``inspect``."""
    parser = commands.add_parser(
        "inspect",
        allow_abbrev=False,
        help="show the header of a packet and the bytes of each tensor",
    )
    parser.add_argument(
        "packet", type=Path, metavar="PACKET", help="file of compress, or bare packet"
    )
    parser.add_argument(
        "--like",
        type=Path,
        metavar="IN",
        help="arrays with the names and shapes of a bare packet, for its bytes per tensor",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _add_codec(parser: argparse.ArgumentParser) -> Any:
    """Describe the settings of the codec, apart from its step."""
    codec = parser.add_argument_group("the codec; unset: the defaults of the package")
    for flag, names in (
        ("--profile", get_args(Profile)),
        ("--quantizer", get_args(QuantizerName)),
        ("--allocation", get_args(Allocation)),
    ):
        codec.add_argument(flag, type=_one_of(names), metavar="NAME", help=_listed(names))
    codec.add_argument(
        "--target-bits-per-weight",
        type=_number,
        metavar="B",
        help="instead of a step: most bits per weight of a packet",
    )
    codec.add_argument(
        "--target-bytes",
        type=_integer,
        metavar="N",
        help="instead of a step: most bytes of a packet",
    )
    codec.add_argument(
        "--step-override",
        dest="step_overrides",
        type=_override,
        action="append",
        metavar="PATTERN=FACTOR",
        help="factor on the step of the tensors of that name; the first match wins, repeatable",
    )
    codec.add_argument("--rd-lambda", type=_number, metavar="L", help="price of a bit for rdoq")
    codec.add_argument("--dead-zone", type=_number, metavar="Z", help="for deadzone, in steps")
    return codec


def _listed(names: tuple[str, ...]) -> str:
    """Write a choice for the help."""
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _one_of(names: tuple[str, ...]) -> Callable[[str], str]:
    """Return a reader of one of the names."""

    def read(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"expected {_listed(names)}, found {text!r}")
        return text

    return read


def _integer(text: str) -> int:
    """Read an integer."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected an integer, found {text!r}") from None


def _number(text: str) -> float:
    """Read a number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, found {text!r}") from None


def _override(text: str) -> tuple[str, float]:
    """Read a pattern and a factor; names may hold an equals sign."""
    pattern, _, factor = text.rpartition("=")
    try:
        return pattern, float(factor)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected PATTERN=FACTOR, found {text!r}") from None


def _alpha(text: str) -> float | str:
    """Read a number or the word for no skew."""
    if text == "iid":
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number or iid, found {text!r}") from None
