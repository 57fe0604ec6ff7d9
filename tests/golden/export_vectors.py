# SPDX-License-Identifier: Apache-2.0
"""Write the level parts of the golden packets for programs without Python.

    PYTHONPATH=tests python -m golden.export_vectors FOLDER

One file a packet, of the form that native/conformance/golden_vectors.hpp reads.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np

import fl_deepcabac as dc
from fl_deepcabac.entropy import PROFILE_CODES, decode_levels
from fl_deepcabac.packet import parse_packet
from golden.goldens import NAMES, read_golden


def section(content: bytes) -> bytes:
    """Return bytes behind their length."""
    return struct.pack("<I", len(content)) + content


def vectors_of(name: str) -> list[bytes]:
    """Return the file of each packet of a stream that holds levels."""
    stream = read_golden(name)
    if not stream.schema.level_tensors:
        return []
    shapes = [spec.matrix_shape for spec in stream.schema.level_tensors]
    head = struct.pack("<BI", PROFILE_CODES[stream.config.profile], len(shapes))
    head += b"".join(struct.pack("<II", *shape) for shape in shapes)
    state = dc.StreamState.fresh(stream.schema, stream.config.profile)
    files = []
    for golden in stream.packets:
        payload = parse_packet(golden.packet, stream.schema).payload
        coded = decode_levels(state.levels, payload, wants_levels=True)
        before = b"" if state.is_fresh else state.levels.to_bytes()
        levels = np.concatenate(golden.levels(stream.schema)).astype("<i4")
        values = coded.values.astype("<f4")
        after = coded.state.to_bytes()
        parts = (before, payload, levels.tobytes(), values.tobytes(), after)
        files.append(head + b"".join(map(section, parts)))
        update = dc.decode_update(golden.packet, schema=stream.schema, state=state)
        state = update.state
    return files


def main() -> None:
    """Write all of them."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        for number, content in enumerate(vectors_of(name)):
            (folder / f"{name.replace('/', '_')}_{number}").write_bytes(content)


if __name__ == "__main__":
    main()
