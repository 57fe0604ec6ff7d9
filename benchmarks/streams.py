# SPDX-License-Identifier: Apache-2.0
"""Rate, distortion and speed on recorded update streams.

A stream is a file ``NAME.npz`` with one array ``r{round}/{tensor}`` for every tensor and round, as
`fl_deepcabac` would meet them. State runs from round 0; rounds 2 and later are counted. Beside a
stream ``NAME.nncodec.json`` may hold NNCodec points: rows of ``bpp``, ``rmse``, ``dq``, ``lam``.

Speed is CPU time on one thread, next to zlib level 1 on the same float32 bytes in the same run.

    python benchmarks/streams.py ../shared/streams [--steps 0.003 0.006 0.012] [--profile fast]
"""

from __future__ import annotations

import argparse
import json
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rate_distortion import MIN_POINTS, bd_rate

import fl_deepcabac as dc

FIRST_COUNTED_ROUND = 2
# Octave halves from 0.7 to 47 thousandths: 0.03 to 3 bit/weight on the recorded streams.
SWEEP_STEPS = [float(0.0007324 * 2 ** (k / 2)) for k in range(13)]
Update = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Point:
    """One pass over a stream."""

    step: float
    bits_per_weight: float
    rmse: float
    nonzero: float
    encode_speed: float  # weights a second
    decode_speed: float


def load_stream(path: Path) -> list[Update]:
    """Return the updates of a stream, one a round."""
    with np.load(path) as arrays:
        rounds: dict[int, Update] = {}
        for key in arrays.files:
            number, _, tensor = key.partition("/")
            rounds.setdefault(int(number[1:]), {})[tensor] = arrays[key]
    return [rounds[number] for number in sorted(rounds)]


def run_stream(updates: list[Update], config: dc.CodecConfig) -> Point:
    """Encode and decode a stream; the decoder must see what the encoder says it will."""
    schema = dc.Schema.from_arrays(updates[0])
    encoder, decoder = dc.UpdateEncoder(schema, config), dc.UpdateDecoder(schema, config)
    encode_time = decode_time = 0.0
    n_bits = n_nonzero = squared_error = 0.0
    for number, update in enumerate(updates):
        seconds, encoded = timed(lambda update=update: encoder.encode(update))
        encode_time += seconds
        seconds, decoded = timed(lambda packet=encoded.packet: decoder.decode(packet))
        decode_time += seconds
        for name, array in decoded.items():
            assert np.array_equal(array, encoded.decoded[name])
        if number >= FIRST_COUNTED_ROUND:
            n_bits += 8 * len(encoded.packet)
            n_nonzero += encoded.report.n_nonzero
            squared_error += encoded.report.rmse**2
    n_counted = len(updates) - FIRST_COUNTED_ROUND
    n_weights = schema.n_elements
    return Point(
        step=config.step,
        bits_per_weight=n_bits / n_counted / n_weights,
        rmse=(squared_error / n_counted) ** 0.5,
        nonzero=n_nonzero / n_counted / n_weights,
        encode_speed=n_weights * len(updates) / encode_time,
        decode_speed=n_weights * len(updates) / decode_time,
    )


def timed(call: Callable[[], object]) -> tuple[float, object]:
    """Return CPU seconds and result of a call."""
    begin = time.process_time()
    result = call()
    return time.process_time() - begin, result


def zlib_speed(updates: list[Update]) -> float:
    """Weights a second of zlib level 1 on the float32 bytes of a stream."""
    seconds = n_weights = 0.0
    for update in updates:
        raw = b"".join(array.tobytes() for array in update.values())
        seconds += timed(lambda raw=raw: zlib.compress(raw, 1))[0]
        n_weights += len(raw) / 4
    return n_weights / seconds


def nncodec_hulls(path: Path) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """Yield NNCodec's (rmse, bits per weight) with everything on and as its federated pipeline."""
    if not path.exists():
        return
    rows = json.loads(path.read_text())
    yield "everything on", [(row["rmse"], row["bpp"]) for row in rows]
    plain = [row for row in rows if row["dq"] == 0 and row["lam"] == 0]
    yield "federated pipeline", [(row["rmse"], row["bpp"]) for row in plain]


def print_points(points: list[Point], yardstick: float) -> None:
    """Print one line a point."""
    print("     step  bit/weight      rmse  nonzero  encode Mw/s (x zlib)  decode Mw/s (x zlib)")
    for point in points:
        print(
            f"{point.step:9.5f}  {point.bits_per_weight:10.4f}  {point.rmse:.6f}  "
            f"{point.nonzero:7.4f}  {point.encode_speed / 1e6:11.1f} "
            f"({point.encode_speed / yardstick:5.2f})  {point.decode_speed / 1e6:11.1f} "
            f"({point.decode_speed / yardstick:5.2f})"
        )


def main() -> None:
    """Run every stream of a folder through every profile."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="folder with NAME.npz streams")
    parser.add_argument("--steps", type=float, nargs="*", default=SWEEP_STEPS)
    parser.add_argument("--lambdas", type=float, nargs="*", default=[0.1])
    parser.add_argument("--profile", choices=["fast", "max"], action="append")
    arguments = parser.parse_args()
    for path in sorted(arguments.folder.glob("*.npz")):
        updates = load_stream(path)
        yardstick = zlib_speed(updates)
        for profile in arguments.profile or ["fast", "max"]:
            print(f"\n{path.stem}, profile {profile}; zlib -1: {yardstick / 1e6:.1f} Mw/s")
            points = [
                run_stream(updates, dc.CodecConfig(step=step, profile=profile, rd_lambda=rd_lambda))
                for rd_lambda in arguments.lambdas
                for step in arguments.steps
            ]
            print_points(points, yardstick)
            if len(points) < MIN_POINTS:
                continue
            ours = [(point.rmse, point.bits_per_weight) for point in points]
            for name, theirs in nncodec_hulls(path.with_suffix(".nncodec.json")):
                print(f"BD-rate against NNCodec, {name}: {bd_rate(ours, theirs):+.1%}")


if __name__ == "__main__":
    main()
