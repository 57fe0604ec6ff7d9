# SPDX-License-Identifier: Apache-2.0
"""Files of the command line: what is read is written to the same bytes' meaning, and decodes.

Input: a byte that says how the rest is meant (`HOW`).
"""

from __future__ import annotations

import json
import struct
import zlib

import numpy as np
from golden.goldens import read_golden

import fl_deepcabac as dc
from fl_deepcabac.container import container_bytes, parse_container
from fl_deepcabac.content_digest import content_digest
from fl_deepcabac.entropy import encode_levels
from fl_deepcabac.packet import write_packet
from fl_deepcabac.stream import StreamState
from fuzz.inputs import Draws, edit_bytes, edit_json
from fuzz.packet import check_update
from fuzz.streams import REFUSALS

# The file itself; edits to one; edits to the bytes and to the values of its description, with
# lengths and checksum put right; edits to the frame that today's files have it in.
HOW = ("as it is", "edited", "description edited", "values edited", "frame edited")
HEADER = struct.Struct("<4sB3sIQI")
# A file may ask for as much memory as it likes, since it brings its own schema.
MAX_ELEMENTS = 100_000


def run(data: bytes) -> None:
    draws = Draws(data)
    how = HOW[draws.below(len(HOW))]
    own, packet = _own()
    content = draws.rest() if how == "as it is" else own
    if how == "edited":
        content = edit_bytes(own, draws)
    elif how != "as it is":
        frame = own[HEADER.size : -len(packet)]
        description = _first_description()
        if how == "description edited":
            description = edit_bytes(description, draws)
        elif how == "values edited":
            text = edit_json(description.decode(), draws)
            description = text.encode("utf-8", "surrogatepass")
        packet = _packet_for(description, packet)
        if how == "frame edited":
            content = _file(edit_bytes(frame, draws), packet, version=2)
        else:
            content = _file(description, packet, version=1)
    check(content)


def _own() -> tuple[bytes, bytes]:
    """Return a file and the packet in it."""
    stream = read_golden("v1/moving_steps_fast")
    packet = stream.packets[0].packet
    return container_bytes(packet, stream.schema, stream.config), packet


def _first_description() -> bytes:
    """Return the description of the same file as version 1 had it, with all settings."""
    stream = read_golden("v1/moving_steps_fast")
    values = {
        "config": json.loads(stream.config.to_json()),
        "schema": json.loads(stream.schema.to_json()),
    }
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()


def _file(description: bytes, packet: bytes, *, version: int) -> bytes:
    checksum = zlib.crc32(description)
    head = HEADER.pack(b"DCBC", version, bytes(3), len(description), len(packet), checksum)
    return head + description + packet


def _packet_for(description: bytes, packet: bytes) -> bytes:
    """Return a packet of zeros for the schema described; `packet` where there can be none."""
    try:
        schema = dc.Schema.from_json(json.dumps(json.loads(description)["schema"]))
        n_levels = sum(spec.n_elements for spec in schema.level_tensors)
        exact = bytes(sum(spec.raw_bytes for spec in schema.exact_tensors))
        state = StreamState.fresh(schema, "fast")
        steps = np.ones(len(schema.level_tensors), np.float32)
        coded = encode_levels(state.levels, np.zeros(n_levels, np.int32), steps)
    except Exception:  # if that is a finding, reading the file will show it
        return packet
    return write_packet(
        schema=schema,
        profile="fast",
        base_state_digest=state.digest,
        sequence_number=0,
        is_fresh=True,
        content_digest=content_digest(coded.values, exact),
        exact=exact,
        payload=coded.payload,
    )


def check(content: bytes) -> None:
    """Read a file, and demand all that is promised."""
    try:
        packet, schema, config = parse_container(content)
    except dc.DecodeError:
        return
    again = container_bytes(packet, schema, config)
    assert parse_container(again) == (packet, schema, config)
    assert json.loads(schema.to_json()) == [
        [s.name, s.dtype, list(s.shape)] for s in schema.tensors
    ]
    if schema.n_elements > MAX_ELEMENTS:
        return
    try:
        update = dc.UpdateDecoder(schema, config).decode(packet)
    except REFUSALS:
        return
    check_update(update, schema)
