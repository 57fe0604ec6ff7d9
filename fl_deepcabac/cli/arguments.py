# SPDX-License-Identifier: Apache-2.0
"""What the command line accepts.

The parser checks what a number or a name is; what values mean is checked by `RunSettings` and
`CodecConfig`, once for the command line and the library alike. Invariant: a complaint is one line.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn, get_args

from fl_deepcabac import __version__
from fl_deepcabac.cli.model_arguments import add_model
from fl_deepcabac.cli.readers import integer, listed, number, one_of, override
from fl_deepcabac.cli.tune_arguments import add_tune
from fl_deepcabac.config import (
    RATE_SETTINGS,
    Allocation,
    CodecConfig,
    Profile,
    Quality,
    QuantizerName,
)
from fl_deepcabac.experiments.settings import (
    AUTO,
    MODEL_NAMES,
    NATURAL,
    OPTIMIZER_NAMES,
    STRATEGY_NAMES,
    TASK_NAMES,
    RunSettings,
)

__all__ = [
    "FILE_RELATIVE_STEP",
    "PROGRAM",
    "build_parser",
    "codec_config_of",
    "given_codec_settings",
    "run_settings_of",
]

PROGRAM = "fl-deepcabac"

# The step of `compress` if none is given. The default of the package is for streams, where error
# feedback sends later what one update leaves out; a single file has no later.
FILE_RELATIVE_STEP = CodecConfig.auto(error_feedback=False).relative_step

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
    _add_experiment(commands)
    _add_report(commands)
    _add_compress(commands)
    _add_decompress(commands)
    _add_inspect(commands)
    add_tune(commands)
    add_model(commands)
    return parser


def codec_config_of(arguments: argparse.Namespace) -> CodecConfig:
    """Return the codec settings that the arguments describe.

    Raises
    ------
    ConfigError
        If a value is out of range, or more than one of quality, steps and targets is given.
    """
    given = given_codec_settings(arguments)
    if arguments.quality is not None:
        return CodecConfig.auto(arguments.quality, **given)
    return CodecConfig(**given)


def given_codec_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of the codec that the arguments name, apart from a quality."""
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
        if getattr(arguments, name, None) is not None
    }
    given["error_feedback"] = getattr(arguments, "error_feedback", True)
    # What one quantiser alone takes names it.
    if "relative_step_per_client" in given:
        given.setdefault("quantizer", "stochastic")
    elif "dead_zone" in given:
        given.setdefault("quantizer", "deadzone")
    return given


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


class _DefaultsHelp(argparse.ArgumentDefaultsHelpFormatter):
    """States defaults that say something: not those of flags, nor None."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        says_nothing = action.default is None or isinstance(action.default, bool)
        return action.help if says_nothing else super()._get_help_string(action)


def _add_simulate(commands: Any) -> None:
    """Describe ``simulate``."""
    parser = commands.add_parser(
        "simulate",
        allow_abbrev=False,
        help="train with simulated clients, without and with compression",
        description="Train a model in Flower's simulation engine, once uncompressed and once "
        "compressed, and write a run folder with rounds.jsonl, savings.png and report.html. "
        "The two runs differ in nothing but the codec.",
        formatter_class=_DefaultsHelp,
    )
    defaults = RunSettings()
    run = parser.add_argument_group("the run")
    run.add_argument(
        "--task",
        default=defaults.task,
        metavar="NAME",
        help=f"{listed(TASK_NAMES)}:DATASET of the Hugging Face Hub",
    )
    run.add_argument(
        "--model",
        type=one_of(MODEL_NAMES),
        metavar="NAME",
        help=f"{listed(MODEL_NAMES)}, as the task allows; its own if unset",
    )
    run.add_argument("--data-dir", type=Path, metavar="DIR", help="files of the task")
    run.add_argument("--clients", type=integer, default=defaults.clients, metavar="N", help="nodes")
    run.add_argument("--rounds", type=integer, default=defaults.rounds, metavar="N", help="rounds")
    run.add_argument(
        "--alpha",
        type=_alpha,
        default=AUTO,
        metavar="A",
        help="Dirichlet concentration of the label skew, iid, natural for the parts that the task "
        "brings, or auto: natural for shakespeare, else 0.5",
    )
    run.add_argument(
        "--fraction",
        type=number,
        default=defaults.fraction,
        metavar="F",
        help="part of the clients that trains in a round",
    )
    run.add_argument(
        "--fraction-evaluate",
        type=number,
        metavar="F",
        help="part of the clients that evaluates the result; as many as train if unset",
    )
    run.add_argument(
        "--seed", type=integer, default=defaults.seed, metavar="S", help="of everything"
    )
    run.add_argument(
        "--strategy",
        type=one_of(STRATEGY_NAMES),
        default=defaults.strategy,
        help=listed(STRATEGY_NAMES),
    )
    run.add_argument("--no-baseline", action="store_true", help="leave the uncompressed run out")
    run.add_argument(
        "--workers", type=integer, metavar="N", help="processes; one per core if unset"
    )
    run.add_argument(
        "--out", type=Path, metavar="DIR", help="run folder; a new one under runs/ if unset"
    )
    training = parser.add_argument_group("training on each client; unset: what suits the task")
    training.add_argument("--local-epochs", type=integer, metavar="N", help="passes per round")
    training.add_argument("--max-steps", type=integer, metavar="N", help="steps per round, at most")
    training.add_argument("--batch-size", type=integer, metavar="N", help="samples per step")
    training.add_argument(
        "--optimizer",
        type=one_of(OPTIMIZER_NAMES),
        metavar="NAME",
        help=f"{listed(OPTIMIZER_NAMES)}; sgd has momentum",
    )
    training.add_argument("--learning-rate", type=number, metavar="R", help="of the optimiser")
    training.add_argument("--weight-decay", type=number, metavar="W", help="of the optimiser")
    codec = _add_codec(parser)
    _add_steps(codec, of_relative="quantiser step, in RMS of each tensor's update")
    codec.add_argument(
        "--relative-step-per-client",
        type=number,
        metavar="K",
        help="the same for each client of a round, with --quantizer stochastic",
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
        "--downlink-relative-step",
        type=number,
        metavar="K",
        help="the same with this step, in RMS of what the global model moved by",
    )


def _add_experiment(commands: Any) -> None:
    """Describe ``experiment``."""
    parser = commands.add_parser(
        "experiment",
        allow_abbrev=False,
        help="compare codecs over tasks, partitions, participation and seeds",
        description="Run the grid that a TOML file describes in Flower's simulation engine, one "
        "run after the other, and write results.csv. Run it again to go on after a kill: finished "
        "runs are not repeated, a half run starts again.",
    )
    parser.add_argument("file", type=Path, metavar="FILE.toml", help="what is compared")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the study; runs/FILE if unset"
    )
    parser.add_argument("--list", action="store_true", help="say what is run, and run nothing")


def _add_report(commands: Any) -> None:
    """Describe ``report``."""
    parser = commands.add_parser(
        "report",
        allow_abbrev=False,
        help="make the report of a run or study anew, or compare several",
        description="Of one folder that simulate wrote, make savings.png and report.html anew. Of "
        "studies that experiment wrote, or of several folders, compare all finished runs: "
        "report.html, figures/, summary.csv and summary.md.",
    )
    parser.add_argument(
        "folders",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="folder that simulate or experiment wrote, or a results.csv",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where a comparison goes; the first DIR if unset and that is of a study",
    )


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
    _add_steps(
        codec,
        of_relative=f"step in RMS of each tensor; {FILE_RELATIVE_STEP:g} if neither a step nor a "
        "target is given: finer than in training, as no later update makes up for the error",
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


def _add_steps(codec: argparse._ArgumentGroup, *, of_relative: str) -> None:
    """Add the two ways to give a step, named as in `CodecConfig` wherever they are."""
    codec.add_argument("--step", type=number, metavar="D", help="the same step for all tensors")
    codec.add_argument("--relative-step", type=number, metavar="K", help=of_relative)


def _add_codec(parser: argparse.ArgumentParser) -> Any:
    """Describe the settings of the codec, apart from its step."""
    codec = parser.add_argument_group("the codec; unset: what suits the strategy, or a file")
    for flag, names in (
        ("--profile", get_args(Profile)),
        ("--quantizer", get_args(QuantizerName)),
        ("--allocation", get_args(Allocation)),
    ):
        codec.add_argument(flag, type=one_of(names), metavar="NAME", help=listed(names))
    codec.add_argument(
        "--quality",
        type=one_of(get_args(Quality)),
        metavar="NAME",
        help=f"instead of a step: {listed(get_args(Quality))}; sets the profile too, unless given",
    )
    codec.add_argument(
        "--target-bits-per-weight",
        type=number,
        metavar="B",
        help="instead of a step: most bits per weight of a packet",
    )
    codec.add_argument(
        "--target-bytes",
        type=integer,
        metavar="N",
        help="instead of a step: most bytes of a packet",
    )
    codec.add_argument(
        "--step-override",
        dest="step_overrides",
        type=override,
        action="append",
        metavar="PATTERN=FACTOR",
        help="factor on the step of the tensors of that name; the first match wins, repeatable",
    )
    codec.add_argument("--rd-lambda", type=number, metavar="L", help="price of a bit for rdoq")
    codec.add_argument("--dead-zone", type=number, metavar="Z", help="for deadzone, in steps")
    return codec


def _alpha(text: str) -> float | str:
    """Read a number or a word."""
    if text in {"iid", NATURAL, AUTO}:
        return text
    try:
        return float(text)
    except ValueError:
        expected = f"expected a number, iid, {NATURAL} or {AUTO}"
        raise argparse.ArgumentTypeError(f"{expected}, found {text!r}") from None
