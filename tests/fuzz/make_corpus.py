# SPDX-License-Identifier: Apache-2.0
"""Write the inputs to begin with, from real packets, states, files and rounds.

``PYTHONPATH=tests python -m fuzz.make_corpus`` from the root of a checkout: after a change to the
form of a target's inputs or of checkpoints. Other files, those of findings above all, stay.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from flower.averages import train_freely
from flower.inprocess_grid import InProcessGrid
from flower.toy import make_app, record_of

from fuzz import checkpoint, container, downlink_cases, downlink_changes, packet, reply_changes
from fuzz import saved_state as saved
from fuzz.conversation import NODES, SETUPS
from fuzz.corpus import CORPUS
from fuzz.inputs import VALUES
from fuzz.streams import GOLDEN, places
from fuzz.surroundings import settled

Inputs = Iterator[tuple[str, bytes]]

PUT, FLIP, INSERT, DELETE, REPEAT, CUT, PASTE, PASTE_IN = range(8)


def edit(kind: int, place: int, value: int, given: bytes = b"") -> bytes:
    """Return one edit, for `inputs.edit_bytes`."""
    return bytes([0, kind]) + place.to_bytes(3, "little") + bytes([value]) + given


def packets() -> Inputs:
    """Every place: the packet itself; edits to header, exact section and payload, in every way."""
    ways = {how: 16 * number for number, how in enumerate(packet.HOW)}
    for number, (name, at) in enumerate(GOLDEN):
        yield f"{name}_{at}", bytes([number]) + places()[number].packet
    for number, place in enumerate(places()):
        last = edit(FLIP, len(place.packet) - 1, 1)
        yield f"last_byte_of_{number}", bytes([number + ways["edited and made true"]]) + last
        if number % 3 == 0:
            yield f"repaired_{number}", bytes([number + ways["edited and repaired"]]) + last
    fields = {"flags": 12, "number": 13, "schema": 16, "base": 24, "content": 32}
    for field, begin in fields.items():
        yield f"edited_{field}", bytes([ways["edited and repaired"] + 1]) + edit(FLIP, begin, 2)
    yield "damaged", bytes([ways["edited"]]) + edit(REPEAT, 40, 0)
    yield "exact_bytes", bytes([3 + ways["edited and made true"]]) + edit(PUT, 50, 9)
    yield "repaired", bytes([3 + ways["repaired"]]) + places()[3].packet[:100]


def states() -> Inputs:
    """Saved states of both profiles; edits to header and level state."""
    ways = {how: 16 * number for number, how in enumerate(saved.HOW)}
    for number in (4, 8):
        state = places()[number].state.to_bytes()
        yield "{}_{}".format(*GOLDEN[number]), bytes([number]) + state
    for number in range(len(places())):
        yield f"within_{number}", bytes([number + ways["edited within"]]) + edit(FLIP, 2_000, 1)
    fields = {"profile": 4, "number": 13, "digest": 21, "schema": 29, "frame": 41}
    for field, begin in fields.items():
        yield f"edited_{field}", bytes([ways["edited and repaired"] + 1]) + edit(FLIP, begin, 1)
        yield f"damaged_{field}", bytes([ways["edited"] + 1]) + edit(FLIP, begin, 1)
    yield "repaired", bytes([ways["repaired"]]) + places()[4].state.to_bytes()[:60]


def containers() -> Inputs:
    """A file; edits to it, and each value of the table in the place of one of its own."""
    yield "file", bytes([0]) + container._own()[0]
    yield "damaged", bytes([1]) + edit(FLIP, 60, 4)
    yield "description", bytes([2]) + edit(PASTE, 30, 4, b"null")
    yield "frame", bytes([4]) + edit(FLIP, 5, 4)
    for number in range(0, len(VALUES), 3):
        yield f"value_{number}", bytes([3, 0, 3, number, number])


def checkpoints() -> Inputs:
    """The checkpoints that are edited, and edits to each part of them."""
    for number, base in enumerate(checkpoint.BASES):
        yield base, bytes([checkpoint.WITH_DOWNLINK * number]) + _checkpoint(base)
        begin = checkpoint.WITH_DOWNLINK * number
        yield f"{base}_damaged", bytes([begin + 1]) + edit(FLIP, 300, 1)
        for place in range(0, 60, 7):
            yield f"{base}_value_{place}", bytes([begin + 2, 0, 3, place, place % len(VALUES)])
        yield f"{base}_manifest", bytes([begin + 3]) + edit(PASTE, 60, 4, b"null")
        for place in range(0, 10, 3):
            yield f"{base}_blob_{place}", bytes([begin + 4, place]) + edit(FLIP, 60, 1)
        yield f"{base}_round", bytes([begin + 5, 0, 0, 3, 7, 9])


def _checkpoint(base: str) -> bytes:
    """Train a little, and return the checkpoint."""
    shapes = {"w": (6, 5), "b": (8,)}
    model = record_of({name: np.ones(shape, np.float32) for name, shape in shapes.items()})
    strategy = checkpoint.build(base)
    grid = InProcessGrid([make_app(train=train_freely) for _ in range(2)])
    strategy.start(grid, model, num_rounds=2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint"
        strategy.save(path)
        return path.read_bytes()


def replies() -> Inputs:
    """Every setup without a change; every change alone, and some in a row."""
    changes = reply_changes.CHANGES
    for setup in range(len(SETUPS)):
        yield f"setup_{setup}", bytes([setup])
    for number, change in enumerate(changes):
        details = edit(FLIP, 50, 1) if change.__name__.startswith("edit") else bytes([1, 1, 1, 1])
        setup, node = number % len(SETUPS), number % len(NODES)
        yield change.__name__, bytes([setup, node, number]) + details
    names = [change.__name__ for change in changes]
    row = [names.index(name) for name in ("double", "lose", "swap", "start_afresh")]
    yield "several", bytes([0, *(byte for number in row for byte in (1, number, 1))])


def messages() -> Inputs:
    """Every case without a change, and every change: to a chain, edits to keyframes too."""
    for case in range(len(downlink_cases.cases())):
        yield f"case_{case}", bytes([case])
    for number, change in enumerate(downlink_changes.CHANGES):
        name = change.__name__
        for case in (0, 3, 8) if name.startswith("edit") else (3,):
            is_edit = name in {"edit_envelope", "edit_name", "edit_token", "edit_planes"}
            details = edit(FLIP, 5, 1) if is_edit else bytes([0, 3, 4, case])
            if name.startswith("edit_packet"):
                details = bytes(case == 3) * (name == "edit_packet") + edit(FLIP, 50, 1)
            yield f"{name}_{case}", bytes([case, number]) + details


WRITERS: dict[str, Iterable[tuple[str, bytes]]] = {
    "packet": packets(),
    "saved_state": states(),
    "container": containers(),
    "checkpoint": checkpoints(),
    "replies": replies(),
    "downlink": messages(),
}


def main() -> None:
    """Write all inputs."""
    with settled():
        for target, inputs in WRITERS.items():
            folder = CORPUS / target
            folder.mkdir(parents=True, exist_ok=True)
            for name, data in inputs:
                (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
