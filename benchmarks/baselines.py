# SPDX-License-Identifier: Apache-2.0
"""Every method over a small grid of its parameters: bits per weight and error, beside ours.

One Markdown table, a pair of columns a stream. Error is the squared error of a decoded update by
the update's own square, mean over the rounds that count; bits are those of whole payloads, without
Flower's envelope. "x fast" is the bits of a method by those of our profile `fast` at the same
error. Error feedback is off everywhere. What outlives a round is on: our state, the start of
PowerSGD's power iteration, NNCodec's temporal contexts.

Methods marked with a star are unbiased: their errors cancel out over clients, which this table does
not see.

    python benchmarks/baselines.py [../shared/streams] [--only stc qsgd]
    NNCODEC_PYTHON=/path/to/python python benchmarks/baselines.py
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from recordings import Recording, open_recordings, parse_folder
from running import FIRST_COUNTED_ROUND

import fl_deepcabac as dc
from fl_deepcabac.experiments.baselines.catalogue import METHODS, build_method
from fl_deepcabac.experiments.baselines.method import Method
from fl_deepcabac.experiments.baselines.nncodec import PYTHON_VARIABLE

# In units of the root mean square of a stream.
OUR_STEPS = [2 ** (k / 2) for k in range(-9, 9)]
SHOWN_STEPS = {0.25, 0.5, 1.0, 2.0, 4.0, 8.0}

GRID: dict[str, list[dict[str, Any]]] = {
    "fp16": [{}],
    "bf16": [{}],
    "zstd": [{}, {"level": 19}, {"byte_planes": True}],
    "uniform": [
        *({"bits": bits, "level": 19} for bits in (8, 6, 4, 3, 2)),
        *({"bits": bits, "span": "maxabs", "level": 19} for bits in (8, 4, 3)),
    ],
    "qsgd": [
        {"levels": levels, "bucket": bucket, "norm": norm}
        for levels, bucket, norm in (
            (1, 128, "max"),
            (1, 512, "l2"),
            (4, 512, "l2"),
            (16, 512, "l2"),
            (16, 512, "max"),
            (127, 512, "l2"),
        )
    ],
    "topk": [
        *({"density": density, "values": "float16"} for density in (0.001, 0.01, 0.1)),
        {"density": 0.01},
        {"density": 0.01, "values": "float16", "scope": "tensor"},
    ],
    "stc": [
        *({"density": density} for density in (0.0025, 0.01, 0.05, 0.1, 0.3)),
        {"density": 0.01, "scope": "tensor"},
        {"density": 0.1, "scope": "tensor"},
    ],
    "drive": [{}, {"scale": "least error"}, {"scale": "least error", "block": 1024}],
    "eden": [
        *({"bits": bits} for bits in (2, 3, 4)),
        *({"bits": bits, "scale": "least error"} for bits in (2, 3, 4)),
    ],
    "signsgd": [{}],
    "powersgd": [{"rank": rank, "values": "float16"} for rank in (1, 2, 4, 8, 16)],
    "kmeans": [
        *({"bits": bits} for bits in (2, 3, 4, 5)),
        {"bits": 4, "iterations": 20},
        {"bits": 5, "iterations": 20},
    ],
    "sz3": [
        *({"bound": bound, "relative_to": "rms"} for bound in (0.125, 0.25, 0.5, 1.0, 2.0)),
        *({"bound": bound} for bound in (0.001, 0.01, 0.1)),
        {"bound": 0.5, "relative_to": "rms", "predictor": "lorenzo"},
        {"bound": 0.5, "relative_to": "rms", "predictor": "interpolation"},
    ],
    "nncodec": [
        *({"qp": qp, "nonweight_qp": qp, "lambda_scale": 1.0} for qp in (-42, -38, -34, -30, -26)),
        *({"qp": qp, "nonweight_qp": qp} for qp in (-38, -34, -30, -26)),
        {"qp": -30},
        {"qp": -30, "nonweight_qp": -30, "tca": False},
        {"qp": -34, "nonweight_qp": -34, "use_dq": False},
    ],
}


@dataclass(frozen=True)
class Point:
    """Bits per weight and relative squared error, mean over the rounds that count."""

    bits: float
    error: float


def mean_point(updates: list[Any], decoded: list[Any], packets: list[bytes]) -> Point:
    """Return the point of a pass over a stream."""
    n_weights = sum(array.size for array in updates[0].values())
    counted = range(FIRST_COUNTED_ROUND, len(updates))
    errors = []
    for number in counted:
        pairs = [(updates[number][name], array) for name, array in decoded[number].items()]
        lost = sum(float(np.sum((x.astype(np.float64) - y) ** 2)) for x, y in pairs)
        errors.append(lost / sum(float(np.sum(x.astype(np.float64) ** 2)) for x, _ in pairs))
    bits = [8 * len(packets[number]) / n_weights for number in counted]
    return Point(float(np.mean(bits)), float(np.mean(errors)))


def run_method(updates: list[Any], method: Method) -> Point:
    """Encode and decode a stream by a method."""
    schema = dc.Schema.from_arrays(updates[0])
    sent: dict[str, Any] = {}
    held: dict[str, Any] = {}
    packets, decoded = [], []
    for number, update in enumerate(updates):
        payload, sent = method.encode(update, schema, sent, np.random.default_rng([1, number]))
        values, held = method.decode(payload, schema, held)
        packets.append(payload)
        decoded.append(values)
    return mean_point(updates, decoded, packets)


def run_ours(recording: Recording, profile: str) -> dict[float, Point]:
    """Return our point at each relative step."""
    points = {}
    for relative_step in OUR_STEPS:
        config = dc.CodecConfig(step=relative_step * recording.rms, profile=profile)
        encoder = dc.UpdateEncoder(dc.Schema.from_arrays(recording.updates[0]), config)
        coded = [encoder.encode(update) for update in recording.updates]
        points[relative_step] = mean_point(
            recording.updates, [each.decoded for each in coded], [each.packet for each in coded]
        )
    return points


def bits_at(curve: dict[float, Point], error: float) -> float | None:
    """Return the bits of a curve at an error; None outside of it."""
    points = sorted(curve.values(), key=lambda point: point.error)
    errors, bits = [point.error for point in points], [point.bits for point in points]
    if not errors[0] <= error <= errors[-1]:
        return None
    return float(np.exp(np.interp(np.log(error), np.log(errors), np.log(bits))))


def cells(point: Point, fast: dict[float, Point]) -> str:
    """Return the three cells of a stream."""
    ours = bits_at(fast, point.error)
    ratio = "" if ours is None else f"{point.bits / ours:.2f}"
    return f"{point.bits:.3f} | {point.error:.2g} | {ratio} |"


def wanted_specs(only: list[str] | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield names and settings; NNCodec's where it is installed."""
    for name in METHODS:
        if only and name not in only:
            continue
        if name == "nncodec" and PYTHON_VARIABLE not in os.environ:
            print(f"nncodec is left out: {PYTHON_VARIABLE} names no interpreter that has it\n")
            continue
        yield from ((name, settings) for settings in GRID[name])


def main() -> None:
    """Print the table, a line as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="*", choices=list(METHODS))
    arguments = parse_folder(parser)
    specs = list(wanted_specs(arguments.only))
    recordings = list(open_recordings(arguments.folder))
    for recording in recordings:
        print(f"{recording.name}: {recording.n_weights} weights")
    curves = {
        profile: [run_ours(each, profile) for each in recordings] for profile in ("fast", "max")
    }
    print("\n| method | parameters |" + " bit/weight | error | x fast |" * len(recordings))
    print("|---|---|" + "---|---|---|" * len(recordings))
    for profile, by_stream in curves.items():
        for step in sorted(SHOWN_STEPS):
            row = [cells(points[step], curves["fast"][i]) for i, points in enumerate(by_stream)]
            print(f"| **ours, {profile}** | step {step:g} x RMS | " + " ".join(row))
    for name, settings in specs:
        off = {} if name == "zstd" else {"error_feedback": False}
        method = build_method(name, settings | off)
        row = [
            cells(run_method(each.updates, method), curves["fast"][i])
            for i, each in enumerate(recordings)
        ]
        is_unbiased = name == "qsgd" or method.describe().get("scale") == "unbiased"
        text = ", ".join(f"{key} {value}" for key, value in settings.items())
        print(f"| {name}{' *' if is_unbiased else ''} | {text} | " + " ".join(row), flush=True)


if __name__ == "__main__":
    main()
