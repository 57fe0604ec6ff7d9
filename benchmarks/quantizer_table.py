# SPDX-License-Identifier: Apache-2.0
"""What each quantiser leaves to tell, by each coder: the second table of docs/model_compression.md.

    python benchmarks/quantizer_table.py

Every quantiser is searched for the smallest file of ResNet20 within the tolerance, with its own
coder; what it then decodes to is coded by all of them. Levels have no trellis here, because its
levels mean nothing to other coders. Bits a weight, names, shapes, points and steps included. Rows
go to docs/results/quantizers.csv, and into the document where it has the lines <!-- quantizers -->
and <!-- end quantizers -->.
"""

from __future__ import annotations

import argparse
import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from model_tables import DOCUMENT, LLOYD_PRICES, ROOT, TOLERANCE
from numpy.typing import NDArray
from paper_networks import NETWORKS, PaperNetwork, Sources

from fl_deepcabac import CodecConfig
from fl_deepcabac.arrays import flatten_values, join_exact, level_slices
from fl_deepcabac.atomic_file import write_atomically
from fl_deepcabac.container import container_bytes
from fl_deepcabac.entropy import encode_levels
from fl_deepcabac.experiments.model_baselines import CODERS, BaselineCoder, entropy_bits
from fl_deepcabac.models.search import search_points
from fl_deepcabac.models.search_coder import FIRST_PRICES, Method, SearchCoder
from fl_deepcabac.models.search_trials import PointCoder
from fl_deepcabac.models.steps import VECTOR_STEP
from fl_deepcabac.schema import Schema
from fl_deepcabac.stream import StreamState

TABLE = ROOT / "docs" / "results" / "quantizers.csv"
NETWORK: Final = "ResNet20"
_BLOCK = re.compile(r"(<!-- quantizers -->\n).*?(<!-- end quantizers -->)", re.DOTALL)
# Not of those that the paper lists.
_LEFT_OUT: Final = "plain"
COLUMNS: Final = (*(name for name in CODERS if name != _LEFT_OUT), "entropy", "cabac")
_NO_TRELLIS: Final = CodecConfig(relative_step=0.25, profile="max", trellis=False)


@dataclass(frozen=True)
class Quantizer:
    """A quantiser as a search has it: what codes its points, and the prices to begin with."""

    coder: PointCoder
    prices: tuple[float, ...]


def quantizers(network: PaperNetwork) -> dict[str, Quantizer]:
    """Return all quantisers of a network, by name."""
    weights, importance = network.weights, network.importance()

    def ours(method: Method, known: Mapping[str, NDArray[Any]]) -> Quantizer:
        schema = Schema.from_arrays(weights)
        coder = SearchCoder.of(weights, schema, _NO_TRELLIS, method, known, VECTOR_STEP)
        # Nearest levels are another row.
        return Quantizer(coder, tuple(price for price in FIRST_PRICES[method] if price))

    return {
        "uniform": Quantizer(BaselineCoder(weights, "uniform"), (0.0,)),
        "weighted Lloyd": Quantizer(BaselineCoder(weights, "lloyd", importance), LLOYD_PRICES),
        "DC-v1": ours("dc-v1", importance),
        "DC-v2": ours("dc-v2", {}),
        "DC-v2, importance": ours("dc-v2", importance),
    }


def symbols_of(values: NDArray[np.float32]) -> tuple[NDArray[np.int64], int]:
    """Return which of its values each weight has, the one nearest to zero being 0, and how many."""
    points, indices = np.unique(values, return_inverse=True)
    return indices.reshape(-1) - int(np.abs(points).argmin()), points.size


def bits_by_coder(decoded: Mapping[str, NDArray[Any]], *, has_points: bool) -> dict[str, float]:
    """Return bits a weight of a quantised model by each coder.

    Parameters
    ----------
    decoded : mapping of str to ndarray
    has_points : bool
        Whether each tensor's values are a table that travels, and not multiples of a step.
    """
    schema = Schema.from_arrays(decoded)
    values = flatten_values(decoded, schema)
    head = len(container_bytes(b"", schema, CodecConfig(profile="max")))
    others = head + len(join_exact(decoded, schema))
    sizes = dict.fromkeys(COLUMNS, float(others))
    levels = np.zeros(values.size, np.int32)
    for spec, place in level_slices(schema):
        symbols, n_points = symbols_of(values[place])
        n_table = 4 * (n_points if has_points else 1)
        for name in COLUMNS[:-2]:
            sizes[name] += len(CODERS[name][0](symbols, spec.matrix_shape)) + n_table
        sizes["entropy"] += entropy_bits(symbols) / 8 + n_table
        sizes["cabac"] += n_table
        levels[place] = symbols
    state = StreamState.fresh(schema, "max")
    steps = np.ones(len(schema.level_tensors), np.float32)
    sizes["cabac"] += len(encode_levels(state.levels, levels, steps, rd_lambda=0.0).payload)
    return {name: 8 * size / schema.n_elements for name, size in sizes.items()}


def make_rows(sources: Sources) -> Iterator[dict[str, str]]:
    """Yield a row for each quantiser."""
    network = NETWORKS[NETWORK](sources)
    for name, quantizer in quantizers(network).items():
        slug = re.sub(r"[^a-z0-9]+", "-", f"quantizer {name}".lower())
        point, _, before = search_points(
            quantizer.coder,
            network.weights,
            network.accuracy,
            TOLERANCE,
            prices=quantizer.prices,
            log=sources.out / f"{slug}.jsonl",
        )
        _, decoded = quantizer.coder.code(point.coarseness, point.rd_lambda)
        bits = bits_by_coder(decoded, has_points=name == "weighted Lloyd")
        print(f"{name}: {point.accuracy:.2f} %, {bits['cabac']:.3f} bits by CABAC", flush=True)
        yield {
            "network": NETWORK,
            "quantizer": name,
            "accuracy_before": f"{before:.6g}",
            "accuracy": f"{point.accuracy:.6g}",
            "coarseness": f"{point.coarseness:.6g}",
            "rd_lambda": f"{point.rd_lambda:.6g}",
            **{column: f"{bits[column]:.5g}" for column in COLUMNS},
        }


def table_text() -> str:
    """Return the table of the document."""
    lines = [
        f"| Quantiser | After | {' | '.join(COLUMNS)} |",
        f"|---|---:|{'---:|' * len(COLUMNS)}",
    ]
    if TABLE.exists():
        with TABLE.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                cells = [f"{float(row[column]):.3f}" for column in COLUMNS]
                after = f"{float(row['accuracy']):.2f} %"
                lines.append(f"| {row['quantizer']} | {after} | {' | '.join(cells)} |")
    return "".join(f"{line}\n" for line in lines)


def document_text() -> str:
    """Return the document with its table made anew."""
    text = DOCUMENT.read_text(encoding="utf-8")
    return _BLOCK.sub(lambda match: f"{match[1]}{table_text()}{match[2]}", text)


def main() -> None:
    """Search all quantisers, and write rows and document."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--weights", type=Path, default=ROOT / "../shared/models")
    parser.add_argument("--out", type=Path, default=ROOT / "runs/models")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = list(make_rows(Sources(Path(), arguments.weights, arguments.out)))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(TABLE, text.getvalue().encode())
    write_atomically(DOCUMENT, document_text().encode())


if __name__ == "__main__":
    main()
