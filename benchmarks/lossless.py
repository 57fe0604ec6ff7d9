# SPDX-License-Identifier: Apache-2.0
"""The same levels coded by general compressors and by this package: bits per weight.

Levels come from the dead-zone quantiser, which looks at no coder's costs, so that both profiles and
all compressors code the same integers. A compressor gets each round's levels as one array of int8
(int16 where int8 is too narrow), at its strongest usual setting.

    python benchmarks/lossless.py [../shared/streams] [--steps 0.003 0.006 0.012]
"""

from __future__ import annotations

import argparse
import bz2
import zlib
from collections.abc import Callable

import numpy as np
import zstandard
from recordings import Recording, open_recordings, parse_folder
from running import FIRST_COUNTED_ROUND, counted_bits_per_weight, encode_stream, levels_of

import fl_deepcabac as dc

try:
    import brotli
except ImportError:
    brotli = None

STEPS = [0.003, 0.006, 0.012]
Compressor = Callable[[bytes], bytes]


def compressors() -> dict[str, Compressor]:
    """Return the compressors that are installed, by name and setting."""
    found: dict[str, Compressor] = {
        "zlib -9": lambda raw: zlib.compress(raw, 9),
        "bz2 -9": lambda raw: bz2.compress(raw, 9),
        "zstd -19": zstandard.ZstdCompressor(level=19).compress,
    }
    if brotli is not None:
        found["brotli -11"] = lambda raw: brotli.compress(raw, quality=11)
    return found


def level_bytes(rounds: list[np.ndarray]) -> list[bytes]:
    """Return each round's levels as bytes, in the narrower type that holds all rounds."""
    largest = max(int(np.abs(levels).max(initial=0)) for levels in rounds)
    dtype = np.int8 if largest < 128 else np.dtype("<i2")
    return [levels.astype(dtype).tobytes() for levels in rounds]


def zstd_after_round_before(raws: list[bytes]) -> list[bytes]:
    """Compress each round with the round before as zstd's dictionary: its form of a history."""
    packets = []
    for before, raw in zip([b"", *raws], raws, strict=False):
        dictionary = zstandard.ZstdCompressionDict(before, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        compressor = zstandard.ZstdCompressor(level=19, dict_data=dictionary if before else None)
        packets.append(compressor.compress(raw))
    return packets


def order_0_bits(rounds: list[np.ndarray]) -> float:
    """Return the mean entropy of a level, by each round's own frequencies (not counted)."""
    total = 0.0
    for levels in rounds:
        shares = np.unique(levels, return_counts=True)[1] / levels.size
        total -= float(np.sum(shares * np.log2(shares)))
    return total / len(rounds)


def measure(recording: Recording, step: float) -> dict[str, float]:
    """Return the bits per weight of every way to code the levels of one step."""
    updates = recording.updates
    ours = {}
    for profile in ("fast", "max"):
        config = dc.CodecConfig(step=step, quantizer="deadzone", profile=profile)
        for name, keep_state in ((f"{profile}, no state", False), (profile, True)):
            coded = encode_stream(updates, config, keep_state=keep_state)
            packets = [update.packet for update in coded]
            ours[name] = counted_bits_per_weight(updates, packets)
    rounds = [levels_of(update) for update in coded]
    raws = level_bytes(rounds)
    rows = {}
    for name, compress in compressors().items():
        packets = [b""] * FIRST_COUNTED_ROUND + list(map(compress, raws[FIRST_COUNTED_ROUND:]))
        rows[name] = counted_bits_per_weight(updates, packets)
    packets = zstd_after_round_before(raws)
    rows["zstd -19, knows round before"] = counted_bits_per_weight(updates, packets)
    rows["order-0 entropy"] = order_0_bits(rounds[FIRST_COUNTED_ROUND:])
    return rows | ours


def main() -> None:
    """Print one table a stream: a line a compressor, a column a step."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=float, nargs="*", default=STEPS)
    arguments = parse_folder(parser)
    if brotli is None:
        print("brotli is not installed and left out; pip install brotli")
    for recording in open_recordings(arguments.folder):
        print(f"\n{recording.name}, {recording.n_weights} weights: bits per weight (times fast)")
        columns = [measure(recording, step) for step in arguments.steps]
        print(f"{'step':30}" + "".join(f"{step:16g}" for step in arguments.steps))
        for name in columns[0]:
            cells = [f"{rows[name]:9.4f} ({rows[name] / rows['fast']:4.2f})" for rows in columns]
            print(f"{name:30}" + "".join(f"{cell:>16}" for cell in cells))


if __name__ == "__main__":
    main()
