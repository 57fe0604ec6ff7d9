# SPDX-License-Identifier: Apache-2.0
"""Fuzz one target for a while: ``python -m fuzz NAME --seconds N``.

With atheris (``pip install atheris``; CPython on Linux x86_64) coverage of the package leads, else
mutations of the corpus follow from a seed. What is new goes to ``build/fuzz/NAME``, and so does the
input of a finding, which ends the run with its traceback and an exit status that is not 0.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from fuzz import TARGETS
from fuzz.corpus import CORPUS, DICTIONARY, read_corpus
from fuzz.mutations import mutations

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "fuzz"
MAX_INPUT_BYTES = 1 << 14
# States and models of the targets take a small part of that.
MAX_MEGABYTES = 2048
# By the clock: on a busy machine, a process may get no time at all for a minute.
TIMEOUT_SECONDS = 300

Run = Callable[[bytes], None]


def main() -> None:
    """Read the command line and fuzz."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60, help="default 60")
    parser.add_argument("--corpus", type=Path, help="a folder of more inputs")
    parser.add_argument("--seed", type=int, default=1, help="of the mutations; default 1")
    parser.add_argument(
        "--engine",
        choices=("atheris", "mutations"),
        default="atheris" if importlib.util.find_spec("atheris") else "mutations",
        help="default: atheris where it is installed",
    )
    arguments = parser.parse_args()
    folder = WORK / arguments.target
    for name in ("corpus", "findings"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    fuzz = _fuzz_with_atheris if arguments.engine == "atheris" else _fuzz_with_mutations
    fuzz(arguments, folder)


def _load(target: str) -> tuple[Run, AbstractContextManager[None]]:
    """Import a target, and what it needs round it."""
    run: Run = importlib.import_module(f"fuzz.{target}").run
    return run, importlib.import_module("fuzz.surroundings").settled()


def _fuzz_with_atheris(arguments: argparse.Namespace, folder: Path) -> None:
    # The finder of an editable installation hands out loaders that atheris cannot instrument; the
    # ordinary one finds the same sources.
    sys.path.insert(0, str(ROOT))
    sys.meta_path.sort(key=lambda finder: finder is not PathFinder)
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["fl_deepcabac"]):
        run, surroundings = _load(arguments.target)
    more = [str(arguments.corpus)] if arguments.corpus else []
    options = {
        "max_total_time": arguments.seconds,
        "max_len": MAX_INPUT_BYTES,
        # Targets are too slow for lengths that grow with the number of executions.
        "len_control": 0,
        "timeout": TIMEOUT_SECONDS,
        "rss_limit_mb": MAX_MEGABYTES,
        "dict": DICTIONARY,
        "artifact_prefix": f"{folder / 'findings'}/",
        "print_final_stats": 1,
    }
    flags = [f"-{name}={value}" for name, value in options.items()]
    corpora = [str(folder / "corpus"), str(CORPUS / arguments.target), *more]
    atheris.Setup([sys.argv[0], *flags, *corpora], run)
    with surroundings:
        # libFuzzer says what it has done, executions included, and ends the process.
        atheris.Fuzz()


def _fuzz_with_mutations(arguments: argparse.Namespace, folder: Path) -> None:
    run, surroundings = _load(arguments.target)
    end = time.monotonic() + arguments.seconds
    corpus = list(read_corpus(arguments.target).values())
    if arguments.corpus:
        corpus += [path.read_bytes() for path in sorted(arguments.corpus.iterdir())]
    n_inputs = 0
    with surroundings:
        for data in mutations(corpus, seed=arguments.seed):
            if time.monotonic() >= end:
                break
            n_inputs += 1
            try:
                run(data)
            except BaseException:
                path = folder / "findings" / f"finding-{hashlib.sha1(data).hexdigest()}"
                path.write_bytes(data)
                print(f"{n_inputs} executions; the last one is in {path}")  # noqa: T201
                raise
    print(f"{n_inputs} executions in {arguments.seconds} seconds, nothing found")  # noqa: T201


if __name__ == "__main__":
    main()
