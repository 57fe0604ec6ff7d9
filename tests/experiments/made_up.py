# SPDX-License-Identifier: Apache-2.0
"""Rows and records for tests of what is made of them."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fl_deepcabac.experiments.rows import RoundRow
from fl_deepcabac.experiments.run_folder import RunRecord
from fl_deepcabac.experiments.settings import RunSettings
from fl_deepcabac.experiments.study_folder import FinishedRun

RAW_BYTES = 4_000


def make_row(**changes: Any) -> RoundRow:
    """Return a row of an uncompressed round, with changes."""
    values: dict[str, Any] = {
        "run": "uncompressed",
        "codec": "none",
        "task": "digits",
        "strategy": "fedavg",
        "seed": 0,
        "round": 1,
        "n_weights": 500,
        "clients": 2,
        "failures": 0,
        "accuracy": 0.5,
        "loss": 1.5,
        "client_accuracy": 0.6,
        "client_loss": 1.25,
        "train_loss": 2.0,
        "uplink_raw_bytes": RAW_BYTES,
        "uplink_packet_bytes": RAW_BYTES,
        "uplink_wire_bytes": RAW_BYTES + 100,
        "downlink_raw_bytes": 2 * RAW_BYTES,
        "downlink_packet_bytes": 2 * RAW_BYTES,
        "downlink_wire_bytes": 2 * RAW_BYTES + 100,
        "bits_per_weight": 32.0,
        "uplink_ratio": 1.0,
        "downlink_ratio": 1.0,
        "total_ratio": 1.0,
        "fresh_updates": 0,
        "encode_seconds": 0.0,
        "decode_seconds": 0.0,
        "seconds": 1.0,
        "layer_bytes": {"w": 3_600, "b": 400, "(header)": 0},
    }
    return RoundRow(**(values | changes))


def make_compressed_row(**changes: Any) -> RoundRow:
    """Return a row of a round that a codec made 40 times smaller, with changes."""
    values: dict[str, Any] = {
        "run": "compressed",
        "codec": "deepcabac",
        "accuracy": 0.48,
        "uplink_packet_bytes": 100,
        "uplink_wire_bytes": 200,
        "bits_per_weight": 0.8,
        "uplink_ratio": 40.0,
        "total_ratio": 12_000 / 8_100,
        "fresh_updates": 2,
        "encode_seconds": 0.004,
        "decode_seconds": 0.002,
        "layer_bytes": {"w": 50, "b": 20, "(header)": 30},
    }
    return make_row(**(values | changes))


def make_runs(*, n_rounds: int = 3) -> dict[str, list[RoundRow]]:
    """Return an uncompressed and a compressed run."""
    numbers = range(1, n_rounds + 1)
    return {
        "uncompressed": [make_row(round=number, accuracy=0.2 * number) for number in numbers],
        "compressed": [
            make_compressed_row(round=number, accuracy=0.19 * number) for number in numbers
        ],
    }


def make_config(**changes: Any) -> dict[str, Any]:
    """Return what ``config.json`` holds, with changes."""
    values: dict[str, Any] = {
        "started": "2026-01-02T03:04:05Z",
        "settings": json.loads(RunSettings(clients=2, rounds=3).to_json()),
        "training": {"local_epochs": 1, "batch_size": 8, "learning_rate": 0.1, "momentum": 0.9},
        "runs": [
            {"label": "uncompressed", "codec": "none", "codec_settings": {}},
            {"label": "compressed", "codec": "deepcabac", "codec_settings": {"relative_step": 3.0}},
        ],
        "model": [{"name": "w", "shape": [45, 10]}, {"name": "b", "shape": [50]}],
        "versions": {"python": "3.11"},
        "machine": {"processor": "one", "cores": 2},
    }
    return values | changes


def make_record() -> RunRecord:
    """Return what a run folder holds."""
    return RunRecord(make_config(), make_runs())


def make_finished(
    label: str = "FP32",
    *,
    seed: int = 0,
    accuracies: tuple[float | None, ...] = (0.2, 0.4, 0.6),
    rounds: int = 3,
    about: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    **changes: Any,
) -> FinishedRun:
    """Return a run of a study with these accuracies; FP32 is uncompressed, all others are coded."""
    make = make_row if label == "FP32" else make_compressed_row
    rows = [
        make(run=label, seed=seed, round=number, accuracy=accuracy, **changes)
        for number, accuracy in enumerate(accuracies, start=1)
    ]
    held = json.loads(RunSettings(clients=2, rounds=rounds, seed=seed).to_json())
    values: dict[str, Any] = {
        "run_id": f"{label}-{seed}",
        "case": "",
        "label": label,
        "settings": held | (settings or {}),
        "codec": rows[0].codec if rows else make().codec,
        "codec_settings": {},
        "status": "finished",
        "reason": None,
        "versions": {"fl-deepcabac": "0.1.0", "python": "3.11"},
    }
    return FinishedRun(values | (about or {}), rows)


# Label, bits per weight, points lost in the end, what slows it down, seconds to encode.
STUDY_CODECS: tuple[tuple[str, float, float, float, float], ...] = (
    ("FP32", 32.0, 0.0, 1.0, 0.0),
    ("FP16", 16.0, 0.0, 1.0, 0.0004),
    ("QSGD 8 bit", 7.1, 0.1, 1.0, 0.012),
    ("QSGD 4 bit", 2.9, 0.3, 1.01, 0.011),
    ("QSGD 2 bit", 1.45, 1.6, 1.1, 0.010),
    ("signSGD + feedback", 1.0, 2.1, 1.2, 0.002),
    ("Top-k 10 %", 3.6, 0.2, 1.02, 0.009),
    ("Top-k 1 %", 0.38, 1.3, 1.2, 0.008),
    ("Ternary, zstd", 0.9, 1.9, 1.1, 0.014),
    ("NNCodec 2.1.3, qp -32", 0.31, 0.5, 1.03, 0.62),
    ("SZ-style + Huffman", 4.4, 0.1, 1.0, 0.021),
    ("DeepCABAC", 0.152, 0.2, 1.01, 0.017),
)
STUDY_LAYERS = {
    "conv1.weight": 288,
    "conv1.bias": 32,
    "conv2.weight": 18_432,
    "conv2.bias": 64,
    "fc1.weight": 401_408,
    "fc1.bias": 128,
    "fc2.weight": 1_280,
    "fc2.bias": 10,
}


def make_study(
    *,
    n_rounds: int = 20,
    seeds: tuple[int, ...] = (0, 1, 2),
    alphas: tuple[float | None, ...] = (0.1, None),
    codecs: tuple[tuple[str, float, float, float, float], ...] = STUDY_CODECS,
) -> Iterator[FinishedRun]:
    """Yield the runs of a study that is made up, but much as one would come out."""
    for alpha in alphas:
        for codec in codecs:
            for seed in seeds:
                yield _make_study_run(codec, alpha, seed, n_rounds)


def _make_study_run(
    codec: tuple[str, float, float, float, float], alpha: float | None, seed: int, n_rounds: int
) -> FinishedRun:
    label, bits, loss, slowness, seconds = codec
    clients, n_weights = 10, sum(STUDY_LAYERS.values())
    top, pace = (0.9, 4.0) if alpha is None else (0.845, 6.0)
    shared, own = random.Random(f"{alpha} {seed}"), random.Random(f"{label} {alpha} {seed}")
    luck = shared.gauss(0, 0.003)
    factor = 1.0 if alpha is None else 1.5
    rows = []
    for number in range(1, n_rounds + 1):
        noise = (shared.gauss(0, 0.012) * (alpha is not None) + own.gauss(0, 0.002)) / number**0.5
        risen = 1 - math.exp(-((number / (pace * slowness)) ** 0.8))
        accuracy = (top + luck - factor * loss / 100) * risen + noise
        now = bits * (1 + (bits < 2) * (0.8 / number + own.gauss(0, 0.02)))
        packet = int(clients * n_weights * now / 8)
        raw = clients * n_weights * 4
        rows.append(
            make_row(
                run=label,
                codec={"FP32": "none", "DeepCABAC": "deepcabac"}.get(label, "baseline"),
                task="fashion-mnist",
                seed=seed,
                round=number,
                n_weights=n_weights,
                clients=clients,
                accuracy=round(accuracy, 4),
                uplink_raw_bytes=raw,
                uplink_packet_bytes=packet,
                downlink_raw_bytes=2 * raw,
                downlink_packet_bytes=2 * raw,
                bits_per_weight=8 * packet / (clients * n_weights),
                encode_seconds=clients * seconds,
                decode_seconds=clients * seconds / 2,
                layer_bytes=_share_out(packet, denser=bits < 2),
            )
        )
    settings = RunSettings(
        task="fashion-mnist", clients=clients, rounds=n_rounds, alpha=alpha, seed=seed
    )
    about = {
        "run_id": f"fashion-mnist-{'iid' if alpha is None else alpha}-s{seed}-{label}",
        "case": "",
        "label": label,
        "settings": json.loads(settings.to_json()),
        "codec": rows[0].codec,
        "codec_settings": {"relative_step": 6.0} if label == "DeepCABAC" else {},
        "status": "finished",
        "reason": None,
        "seconds": 60.0,
        "warnings": [],
        "versions": {"fl-deepcabac": "0.1.0", "flwr": "1.42.0", "python": "3.11.2"},
    }
    return FinishedRun(about, rows)


def _share_out(packet: int, *, denser: bool) -> dict[str, int]:
    """Return the bytes of a packet by layer; coarse codecs spend more on convolutions."""
    parts = {name: n * (4 if denser and "conv" in name else 1) for name, n in STUDY_LAYERS.items()}
    layers = {name: int(0.98 * packet * n / sum(parts.values())) for name, n in parts.items()}
    return {**layers, "(header)": packet - sum(layers.values())}


def write_study(folder: Path, runs: Iterator[FinishedRun] | list[FinishedRun]) -> None:
    """Write runs as the folder of a study has them."""
    for index, run in enumerate(runs):
        place = folder / "runs" / f"{index:03d}"
        place.mkdir(parents=True)
        (place / "run.json").write_text(json.dumps(run.about), encoding="utf-8")
        lines = [json.dumps(row.to_dict()) for row in run.rows]
        (place / "rounds.jsonl").write_text("\n".join(lines), encoding="utf-8")
