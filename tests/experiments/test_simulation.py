# SPDX-License-Identifier: Apache-2.0
"""The command line through Flower's own simulation engine, with Ray: once, small, and for real."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = "import sys; from fl_deepcabac.cli import main; sys.exit(main())"


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "runs",
    [
        ("compressed",),
        # What `make demo` does; an engine takes ten seconds to start.
        pytest.param(("uncompressed", "compressed"), marks=pytest.mark.slow),
    ],
    ids=len,
)
def test_simulate_writes_a_run_folder(tmp_path: Path, runs: tuple[str, ...]) -> None:
    folder = tmp_path / "run"
    options = "--task digits --clients 2 --rounds 2 --local-epochs 1 --workers 1 --relative-step 3"
    if len(runs) == 1:
        options += " --no-baseline"
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM, "simulate", *options.split(), "--out", str(folder)],
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
        cwd=tmp_path,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    last = finished.stdout.splitlines()[-1]
    assert last.startswith("accuracy ")
    assert all(part in last for part in ("with", "uplink", "downlink", "total"))
    assert ("without" in last) == (len(runs) == 2)

    lines = (folder / "rounds.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [(row["run"], row["round"]) for row in rows] == [
        (run, number) for run in runs for number in (1, 2)
    ]
    assert all(row["clients"] == 2 and row["failures"] == 0 for row in rows)
    coded = rows[-2:]
    assert all(row["uplink_ratio"] > 20 for row in coded)
    assert [row["fresh_updates"] for row in coded] == [2, 0]
    # Both runs start from the same weights: what they cost differs, not what they are told.
    assert rows[0]["downlink_packet_bytes"] == coded[0]["downlink_packet_bytes"]
    assert rows[0]["uplink_raw_bytes"] == 2 * 4 * 151_306
    names = {"config.json", "rounds.jsonl", "savings.png", "report.html", "engine.log"}
    assert {entry.name for entry in folder.iterdir()} == names
