# SPDX-License-Identifier: Apache-2.0
"""Instructions a weight of the coding functions, counted by callgrind and committed.

Machines are shared and clocks noisy; instruction counts repeat. `instruction_ledger.csv` has one
line for each profile and function; `encode_trellis` is `encode_values` with dependent levels.
Counts depend on the compiler, so the ledger names it: with the same one a count may move by
`TOLERANCE`; with another one differences are printed and not judged.

    python benchmarks/instruction_ledger.py build/bench/bench_level_codec [--write]
    make bench-instructions                             # builds the program, then compares
"""

from __future__ import annotations

import argparse
import csv
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PATH = Path(__file__).with_name("instruction_ledger.csv")
# Standard library and allocator differ a little between machines with the same compiler.
TOLERANCE = 0.01
# The program codes a matrix of 512 rows and a vector in 2 warming rounds and 1 round.
N_COLUMNS = 64
N_WEIGHTS = 513 * N_COLUMNS * 3
# What a line is called: how levels are chosen, and the function that is counted.
FUNCTIONS = {
    "encode_values": ("greedy", "encode_values"),
    "encode_trellis": ("trellis", "encode_values"),
    "encode_levels": ("greedy", "encode_levels"),
    "decode_levels": ("greedy", "decode_levels"),
}
PROFILES = ["fast", "max"]
Counts = dict[tuple[str, str], float]


def count_instructions(program: Path, profile: str, name: str) -> int:
    """Return the instructions between entry and exit of a function, over the whole run."""
    choice, function = FUNCTIONS[name]
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "callgrind.out"
        subprocess.run(
            [
                "valgrind",
                "--tool=callgrind",
                f"--callgrind-out-file={output}",
                f"--toggle-collect=fl_deepcabac::{function}(*",
                program,
                str(N_COLUMNS),
                "1",
                profile,
                choice,
            ],
            check=True,
            capture_output=True,
        )
        total = re.search(r"^(?:summary|totals): (\d+)", output.read_text(), flags=re.MULTILINE)
    if total is None or int(total[1]) == 0:
        sys.exit(f"expected calls of fl_deepcabac::{function} in {program}, found none")
    return int(total[1])


def compiler_of(program: Path) -> str:
    """Return name and version of the compiler, from the build folder of the program."""
    folders = (program.parent / "CMakeFiles").glob("*/CMakeCXXCompiler.cmake")
    text = max(folders).read_text(encoding="utf-8")
    values = dict(re.findall(r"set\(CMAKE_CXX_COMPILER_(ID|VERSION) \"([^\"]*)\"\)", text))
    return f"{values['ID']} {values['VERSION']}"


def read_ledger() -> tuple[str, Counts]:
    """Return the compiler and the counts that are committed."""
    compiler, counts = "", {}
    if PATH.exists():
        with PATH.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                compiler = row["compiler"]
                counts[row["profile"], row["function"]] = float(row["instructions_per_weight"])
    return compiler, counts


def write_ledger(compiler: str, counts: Counts) -> None:
    """Replace what is committed."""
    with PATH.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["profile", "function", "instructions_per_weight", "compiler"])
        for (profile, function), count in counts.items():
            writer.writerow([profile, function, f"{count:.1f}", compiler])


def compare(compiler: str, counts: Counts) -> int:
    """Print all counts beside the committed ones; return how many are out of tolerance."""
    known_compiler, known = read_ledger()
    n_moved = 0
    print(f"instructions a weight, {compiler}; committed: {known_compiler or 'none'}")
    for (profile, function), count in counts.items():
        before = known.get((profile, function))
        line = f"{profile:5}{function:15}{count:9.1f}"
        if before is not None:
            line += f"{before:9.1f}{count / before - 1:+8.1%}"
        if before is None or abs(count / before - 1) > TOLERANCE:
            n_moved += 1
            line += "  moved"
        print(line)
    if n_moved and known_compiler not in ("", compiler):
        print("the compiler is another one: nothing is judged")
        return 0
    return n_moved


def main() -> None:
    """Count, then compare or write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("program", type=Path)
    parser.add_argument("--write", action="store_true", help="make these counts the committed ones")
    arguments = parser.parse_args()
    if shutil.which("valgrind") is None:
        sys.exit("expected valgrind on PATH, found none: instructions cannot be counted")
    counts = {
        (profile, function): count_instructions(arguments.program, profile, function) / N_WEIGHTS
        for profile in PROFILES
        for function in FUNCTIONS
    }
    compiler = compiler_of(arguments.program)
    n_moved = compare(compiler, counts)
    if arguments.write:
        write_ledger(compiler, counts)
    elif n_moved:
        sys.exit(
            f"{n_moved} counts moved by more than {TOLERANCE:.0%}: if that is meant, run "
            f"make bench-instructions WRITE=1, and say why in the commit"
        )


if __name__ == "__main__":
    main()
