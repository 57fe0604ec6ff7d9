# SPDX-License-Identifier: Apache-2.0
"""Write the golden streams of one format version; never overwrite one.

``python tests/golden/make_golden.py v1`` from the root of a checkout. The packets come from the
package, what they mean comes from the reference twin, and the inputs come from integer recurrences.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from reference import packet as twin  # noqa: E402 - after the path above
from reference.stream import StreamState, Tensor  # noqa: E402
from samples import sample_integers, sample_levels, sample_update, sample_values  # noqa: E402

import fl_deepcabac as dc  # noqa: E402

Update = dict[str, NDArray[np.generic]]


def every_dtype(number: int) -> Update:
    """All dtypes, ranks and odd extents."""
    return sample_update(8 * number)


def moving_steps(number: int) -> Update:
    """Updates whose size, and with it the relative step, changes from packet to packet."""
    scale = np.float32([1.0, 0.25, 24.0, 24.0][number])
    return {
        "w": scale * sample_values(number, (20, 13), "float32", bits=9),
        "b": scale * sample_values(number + 50, (20,), "float32", bits=9),
        "n": np.array(number, np.int64),
    }


def exact_only(number: int) -> Update:
    """No tensor that travels as levels; the second update is zstandard's."""
    if number == 0:
        return {"i": sample_integers(3, (40,), "int16")}
    return {"i": np.full(40, number, np.int16)}


def extreme_levels(number: int) -> Update:
    """Levels up to 2^24, at a step of 1, with long rows of zeros between them."""
    levels = np.zeros(300, np.float32)
    levels[:40] = sample_levels(number, 40, per_cent=70, largest=1 << 24)
    levels[40:43] = (1 << 24), -(1 << 24), 1
    levels[290] = 1 - number
    return {"w": levels.reshape(3, 100), "h": levels[:40].clip(-65504, 65504).astype(np.float16)}


def alike(number: int) -> Update:
    """Updates that have something in common, below half a step too, and so a use for offsets."""
    update: Update = {}
    for name, shape in {"m": (21, 17), "l": (6, 80), "v": (130,)}.items():
        n = int(np.prod(shape))
        ramp = (np.arange(n) * 37 % 101 - 50).astype(np.float32) / 64
        some = sample_values(3 * number + n, shape, "float32", bits=4 + number)
        update[name] = some + ramp.reshape(shape)
    return update


def few_levels(number: int) -> Update:
    """Hardly any levels, half of them where they were before, and blocks that are cut short."""
    update: Update = {}
    for name, shape in {"m": (30, 433), "s": (900, 7), "v": (1001,)}.items():
        values = np.zeros(int(np.prod(shape)), np.float32)
        values[3 :: 97 + number] = -2
        values[50::151] = 3.75 + number
        update[name] = values.reshape(shape)
    return update


def several_chunks(number: int) -> Update:
    """More than 2^19 levels; the first chunk ends within a row of the matrix."""
    update: Update = {}
    for name, shape in {"v": (999,), "m": (601, 901), "l": (40, 5)}.items():
        values = np.zeros(int(np.prod(shape)), np.float32)
        values[5 :: 4001 + number] = 5.25
        values[90::3500] = -2.75
        update[name] = values.reshape(shape)
    return update


STREAMS: dict[str, tuple[dc.CodecConfig, Callable[[int], Update], int]] = {
    "every_dtype_fast": (dc.CodecConfig(step=2.0**-7, quantizer="uniform"), every_dtype, 3),
    "every_dtype_max": (dc.CodecConfig(step=2.0**-7, profile="max"), every_dtype, 2),
    "moving_steps_fast": (dc.CodecConfig(relative_step=0.7), moving_steps, 4),
    "moving_steps_max": (
        dc.CodecConfig(relative_step=2.0, profile="max", quantizer="deadzone"),
        moving_steps,
        4,
    ),
    "trellis_fast": (dc.CodecConfig(step=0.5, trellis=True, rd_lambda=0.01), alike, 3),
    "trellis_max": (
        dc.CodecConfig(step=0.5, profile="max", trellis=True, rd_lambda=0.01),
        alike,
        2,
    ),
    "sparse_fast": (dc.CodecConfig(step=1.0, trellis=True, rd_lambda=0.05), few_levels, 2),
    "sparse_max": (
        dc.CodecConfig(step=1.0, profile="max", trellis=False, rd_lambda=0.05),
        few_levels,
        2,
    ),
    "chunks_fast": (dc.CodecConfig(step=1.0, trellis=True, rd_lambda=0.05), several_chunks, 2),
    "exact_only": (dc.CodecConfig(), exact_only, 2),
    "extreme_levels": (dc.CodecConfig(step=1.0, quantizer="uniform"), extreme_levels, 2),
}


def digest(array: NDArray[np.generic]) -> str:
    """Name the bytes of an array."""
    return hashlib.blake2b(array.tobytes(), digest_size=16).hexdigest()


def runs(levels: list[int]) -> list[int]:
    """Return the levels other than zero, each behind the number of zeros before it."""
    pairs = []
    n_zeros = 0
    for level in levels:
        if level == 0:
            n_zeros += 1
        else:
            pairs += [n_zeros, level]
            n_zeros = 0
    return pairs


def make_stream(
    folder: Path, config: dc.CodecConfig, make: Callable[[int], Update], n: int
) -> None:
    """Write the packets of one stream, the state after them, and what each must decode to."""
    schema = dc.Schema.from_arrays(make(0))
    tensors = [Tensor(spec.name, spec.dtype, spec.shape) for spec in schema.tensors]
    slow = StreamState(tensors, int(config.profile == "max"))
    encoder = dc.UpdateEncoder(schema, config)
    folder.mkdir(parents=True)
    packets: list[dict[str, Any]] = []
    for number in range(n):
        encoded = encoder.encode(make(number))
        read = twin.decode(slow, encoded.packet)
        slow = read.state
        (folder / f"packet_{number}.bin").write_bytes(encoded.packet)
        (folder / f"state_{number}.bin").write_bytes(encoder.state_bytes())
        packets.append(
            {
                "step_bits": read.update.steps,
                "dependent": read.update.is_dependent,
                "offsets": read.update.offsets,
                "levels": [runs(levels) for levels in read.update.levels],
                "decoded": {name: digest(array) for name, array in encoded.decoded.items()},
                "state_digest": slow.digest.hex(),
                "level_state": hashlib.blake2b(slow.levels.to_bytes(), digest_size=16).hexdigest(),
            }
        )
    manifest = {"schema": schema.to_json(), "config": config.to_json(), "packets": packets}
    text = json.dumps(manifest, separators=(",", ":"))
    (folder / "expected.json").write_text(text.replace('{"step_bits"', '\n{"step_bits"') + "\n")


def main(version: str) -> None:
    """Write all streams of a version that has none yet."""
    folder = HERE / version
    if folder.exists():
        raise SystemExit(
            f"expected no folder {folder.name}, found one: goldens are never rewritten"
        )
    if version != f"v{dc.FORMAT_VERSION}":
        raise SystemExit(f"expected v{dc.FORMAT_VERSION}, the version this checkout writes")
    for name, (config, make, n) in STREAMS.items():
        make_stream(folder / name, config, make, n)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("expected one argument, the version, such as v1")
    main(sys.argv[1])
