# SPDX-License-Identifier: Apache-2.0
"""The command line: ``fl-deepcabac simulate | experiment | report | compress | ...``.

Only this subpackage talks to the terminal. Invariant: a wrong argument or file ends in one line
that says what was expected and found, and exit code 2; no user sees a traceback. Exit code 1 is a
run that failed, 130 one that was interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from rich.console import Console

from fl_deepcabac.cli.arguments import PROGRAM, build_parser
from fl_deepcabac.errors import DeepCabacError

__all__ = ["main"]

EXIT_FAILED, EXIT_WRONG_INPUT, EXIT_INTERRUPTED = 1, 2, 130
# Tables are laid out for the terminal; a file or pipe has no width of its own.
PIPE_WIDTH = 120


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the name of the program; None takes those of the process.

    Returns
    -------
    int
        Exit code.
    """
    arguments = build_parser().parse_args(argv)
    console = _console()
    try:
        _COMMANDS[arguments.command](arguments, console)
        sys.stdout.flush()
    except KeyboardInterrupt as error:
        return _complain(str(error) or "interrupted", EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader of a pipe has seen enough; Python must not flush into it on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (DeepCabacError, OSError, ImportError, MemoryError) as error:
        return _complain(_explain(error), _exit_code(error))
    return 0


def _console() -> Console:
    """Return a console for standard output."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPE_WIDTH)


def _complain(text: str, exit_code: int) -> int:
    """Write one line to standard error and pass the exit code on."""
    line = " ".join(f"{PROGRAM}: {text}".split())
    Console(stderr=True).print(line, markup=False, highlight=False, soft_wrap=True)
    return exit_code


def _explain(error: Exception) -> str:
    """Say what was expected and found."""
    if isinstance(error, OSError):
        return f"{error.filename}: expected a path that can be used, found: {error.strerror}"
    if isinstance(error, ModuleNotFoundError):
        return (
            f"expected the Python package {error.name!r}, found none; "
            "pip install 'fl-deepcabac[experiments]' installs it"
        )
    if isinstance(error, MemoryError):
        return f"expected data that fits into memory, found more: {error}"
    return str(error)


def _exit_code(error: Exception) -> int:
    """Tell a run that failed from input that was wrong."""
    return EXIT_FAILED if isinstance(error, RuntimeError) else EXIT_WRONG_INPUT


# Commands import what they need when they run: most need neither torch nor Flower.


def _simulate(arguments: argparse.Namespace, console: Console) -> None:
    from fl_deepcabac.cli.run_commands import simulate  # noqa: PLC0415

    simulate(arguments, console)


def _experiment(arguments: argparse.Namespace, console: Console) -> None:
    from fl_deepcabac.cli.experiment_commands import experiment  # noqa: PLC0415

    experiment(arguments, console)


def _report(arguments: argparse.Namespace, console: Console) -> None:
    from fl_deepcabac.cli.run_commands import report  # noqa: PLC0415

    report(arguments, console)


def _compress(arguments: argparse.Namespace, console: Console) -> None:
    from fl_deepcabac.cli.file_commands import compress_file  # noqa: PLC0415

    compress_file(arguments, console)


def _decompress(arguments: argparse.Namespace, console: Console) -> None:
    from fl_deepcabac.cli.file_commands import decompress_file  # noqa: PLC0415

    decompress_file(arguments, console)


def _inspect(arguments: argparse.Namespace, console: Console) -> None:
    from fl_deepcabac.cli.file_commands import inspect_file  # noqa: PLC0415

    inspect_file(arguments, console)


def _tune(arguments: argparse.Namespace, console: Console) -> None:
    from fl_deepcabac.cli.tune_command import tune_files  # noqa: PLC0415

    tune_files(arguments, console)


def _model(arguments: argparse.Namespace, console: Console) -> None:
    from fl_deepcabac.cli.model_commands import model  # noqa: PLC0415

    model(arguments, console)


_COMMANDS: dict[str, Callable[[argparse.Namespace, Console], None]] = {
    "simulate": _simulate,
    "experiment": _experiment,
    "report": _report,
    "compress": _compress,
    "decompress": _decompress,
    "inspect": _inspect,
    "tune": _tune,
    "model": _model,
}
