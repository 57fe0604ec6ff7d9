# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/model_compression.md: each network with each method, within a tolerance.

    python benchmarks/model_tables.py                                    # or make tables
    python benchmarks/model_tables.py --networks ResNet20 --methods DC-v2

Every evaluation is kept under OUT, so that what was cut goes on; NNCODEC_PYTHON adds NNCodec. Rows
go to docs/results/models.csv, and into the document between its lines <!-- table --> and
<!-- end -->.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from paper_networks import NETWORKS, PaperNetwork, Sources

from fl_deepcabac.atomic_file import write_atomically
from fl_deepcabac.experiments.model_baselines import BaselineCoder
from fl_deepcabac.experiments.model_baselines.nncodec import NnCodecCoder
from fl_deepcabac.models import SearchError, SearchPoint, search
from fl_deepcabac.models.search import search_points
from fl_deepcabac.schema import Schema

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "model_compression.md"
TABLE = ROOT / "docs" / "results" / "models.csv"
_BLOCK = re.compile(r"(<!-- table -->\n).*?(<!-- end -->)", re.DOTALL)
TOLERANCE = 0.1
# Of matrices for the baselines' searches.
LLOYD_PRICES = (0.03, 0.12, 0.48)
# NNCodec's own default for vectors, and two coarser ones; its default price of a bit, and others.
NNCODEC_VECTORS, NNCODEC_PRICES = (-75, -50, -40), (0.0, 0.1, 1.0)


@dataclass(frozen=True)
class Row:
    """What one method makes of one network."""

    network: str
    method: str
    accuracy_before: float
    accuracy: float
    raw_bytes: int
    n_bytes: int
    percent_of_float32: float
    bits_per_weight: float
    entropy_percent: float | None
    density: float
    coarseness: float
    rd_lambda: float
    n_points: int
    seconds: float


# The point taken, how many were tried and how long that took, accuracy before, entropy in bytes.
Found = tuple[SearchPoint, int, float, float, float | None]


def _deepcabac(method: Any, *, has_importance: bool) -> Callable[[PaperNetwork, Path], Found]:
    def run(network: PaperNetwork, log: Path) -> Found:
        importance = network.importance() if has_importance else None
        result = search(
            network.weights, network.accuracy, TOLERANCE, method, importance=importance, log=log
        )
        # A trellis' levels mean nothing without it: their zero-order entropy says nothing.
        return *_tried(result.point, result.points), result.accuracy_before, None

    return run


def _baseline(quantizer: Any) -> Callable[[PaperNetwork, Path], Found]:
    def run(network: PaperNetwork, log: Path) -> Found:
        importance = network.importance() if quantizer == "lloyd" else None
        coder = BaselineCoder(network.weights, quantizer, importance)
        prices = LLOYD_PRICES if quantizer == "lloyd" else (0.0,)
        point, points, before = search_points(
            coder, network.weights, network.accuracy, TOLERANCE, prices=prices, log=log
        )
        coded, _ = coder.code(point.coarseness, point.rd_lambda)
        return *_tried(point, points), before, coded.n_entropy_bytes

    return run


def _nncodec(network: PaperNetwork, log: Path) -> Found:
    """Search with each of NNCodec's settings; the smallest of all counts."""
    found = []
    for qp in NNCODEC_VECTORS:
        for price in NNCODEC_PRICES:
            own = log.with_name(f"{log.stem}{qp}-{price:g}.jsonl")
            coder = NnCodecCoder(network.weights, qp)
            # Some settings have nothing within the tolerance.
            with contextlib.suppress(SearchError):
                found.append(
                    search_points(
                        coder,
                        network.weights,
                        network.accuracy,
                        TOLERANCE,
                        prices=(price,),
                        log=own,
                    )
                )
    point, _, before = min(found, key=lambda result: result[0].n_bytes)
    points = tuple(point for _, points, _ in found for point in points)
    return *_tried(point, points), before, None


def _tried(point: SearchPoint, points: tuple[SearchPoint, ...]) -> tuple[SearchPoint, int, float]:
    """Return the point, how many there are, and how long all took, in whatever process."""
    return point, len(points), sum(other.seconds for other in points)


METHODS: dict[str, Callable[[PaperNetwork, Path], Found]] = {
    "DC-v1": _deepcabac("dc-v1", has_importance=True),
    "DC-v2": _deepcabac("dc-v2", has_importance=False),
    "DC-v2, importance": _deepcabac("dc-v2", has_importance=True),
    "uniform": _baseline("uniform"),
    "weighted Lloyd": _baseline("lloyd"),
    "NNCodec": _nncodec,
}


def make_row(name: str, method: str, sources: Sources) -> Row:
    """Search one network with one method."""
    network = NETWORKS[name](sources)
    slug = re.sub(r"[^a-z0-9]+", "-", f"{name} {method}".lower())
    point, n_points, seconds, before, n_entropy = METHODS[method](
        network, sources.out / f"{slug}.jsonl"
    )
    schema = Schema.from_arrays(network.weights)
    matrices = [own for own in network.weights.values() if own.ndim > 1]
    return Row(
        network=name,
        method=method,
        accuracy_before=before,
        accuracy=point.accuracy,
        raw_bytes=schema.raw_bytes,
        n_bytes=point.n_bytes,
        percent_of_float32=100 * point.n_bytes / schema.raw_bytes,
        bits_per_weight=8 * point.n_bytes / schema.n_elements,
        entropy_percent=None if n_entropy is None else 100 * n_entropy / schema.raw_bytes,
        density=sum(map(np.count_nonzero, matrices)) / sum(own.size for own in matrices),
        coarseness=point.coarseness,
        rd_lambda=point.rd_lambda,
        n_points=n_points,
        seconds=seconds,
    )


def read_rows() -> dict[tuple[str, str], dict[str, str]]:
    """Return the published rows by network and method."""
    if not TABLE.exists():
        return {}
    with TABLE.open(encoding="utf-8", newline="") as stream:
        return {(line["network"], line["method"]): line for line in csv.DictReader(stream)}


def write_rows(rows: dict[tuple[str, str], dict[str, str]]) -> None:
    """Write the published rows, networks and methods in their order."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(Row.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows[key] for key in _keys() if key in rows)
    write_atomically(TABLE, text.getvalue().encode())


def _keys() -> list[tuple[str, str]]:
    return [(network, method) for network in NETWORKS for method in METHODS]


def table_text() -> str:
    """Return the table of the document."""
    lines = [
        "| Network | Method | Kept | Before | After | Bytes | of float32 | Bits/weight | Entropy |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    rows = read_rows()
    for key in _keys():
        if key not in rows:
            continue
        row = rows[key]
        entropy = f"{float(row['entropy_percent']):.2f} %" if row["entropy_percent"] else "–"
        name = f"**{key[1]}**" if key[1].startswith("DC") else key[1]
        lines.append(
            f"| {key[0]} | {name} | {100 * float(row['density']):.3g} % | "
            f"{float(row['accuracy_before']):.2f} % | "
            f"{float(row['accuracy']):.2f} % | {int(row['n_bytes']):,} | "
            f"{float(row['percent_of_float32']):.2f} % | {float(row['bits_per_weight']):.3f} | "
            f"{entropy} |"
        )
    return "".join(f"{line}\n" for line in lines)


def document_text() -> str:
    """Return the document with its table made anew."""
    text = DOCUMENT.read_text(encoding="utf-8")
    return _BLOCK.sub(lambda match: f"{match[1]}{table_text()}{match[2]}", text)


def main() -> None:
    """Search what is asked for, and write rows and document."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mnist", type=Path, default=ROOT / "../shared/data/mnist.npz")
    parser.add_argument("--weights", type=Path, default=ROOT / "../shared/models")
    parser.add_argument("--out", type=Path, default=ROOT / "runs/models")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    sources = Sources(arguments.mnist, arguments.weights, arguments.out)
    for network in arguments.networks:
        for method in arguments.methods:
            if method == "NNCodec" and "NNCODEC_PYTHON" not in os.environ:
                print("NNCodec: NNCODEC_PYTHON names no interpreter; left out")
                continue
            row = make_row(network, method, sources)
            print(f"{network}, {method}: {row.n_bytes:,} bytes, {row.accuracy:.2f} %", flush=True)
            values = {name: _text(getattr(row, name)) for name in Row.__dataclass_fields__}
            write_rows(read_rows() | {(network, method): values})
    write_atomically(DOCUMENT, document_text().encode())


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
