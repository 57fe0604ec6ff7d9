# SPDX-License-Identifier: Apache-2.0
"""Reads the golden streams; never writes one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import fl_deepcabac as dc

HERE = Path(__file__).resolve().parent
NAMES = sorted(f"{p.parent.name}/{p.name}" for p in HERE.glob("v*/*") if p.is_dir())


@dataclass(frozen=True)
class GoldenPacket:
    """One packet, the saved states on both sides of it, and what it must mean."""

    packet: bytes
    state_before: bytes | None
    state_after: bytes
    expected: dict[str, Any]

    def levels(self, schema: dc.Schema) -> list[list[int]]:
        """Return the levels of each tensor; the file holds runs of zeros as their lengths."""
        tensors = []
        for spec, runs in zip(schema.level_tensors, self.expected["levels"], strict=True):
            levels: list[int] = []
            for n_zeros, level in zip(runs[::2], runs[1::2], strict=True):
                levels += [0] * n_zeros
                levels.append(level)
            tensors.append(levels + [0] * (spec.n_elements - len(levels)))
        return tensors


@dataclass(frozen=True)
class GoldenStream:
    """The packets of one stream in order."""

    schema: dc.Schema
    config: dc.CodecConfig
    packets: tuple[GoldenPacket, ...]

    def decoder_before(self, number: int) -> dc.UpdateDecoder:
        """Return a decoder that has seen all packets before one."""
        decoder = dc.UpdateDecoder(self.schema, self.config)
        saved = self.packets[number].state_before
        if saved is not None:
            decoder.load_state(saved)
        return decoder


@cache
def read_golden(name: str) -> GoldenStream:
    """Read one stream, such as ``v1/exact_only``."""
    folder = HERE / name
    manifest = json.loads((folder / "expected.json").read_text())
    packets = []
    before = None
    for number, expected in enumerate(manifest["packets"]):
        after = (folder / f"state_{number}.bin").read_bytes()
        packet = (folder / f"packet_{number}.bin").read_bytes()
        packets.append(GoldenPacket(packet, before, after, expected))
        before = after
    schema = dc.Schema.from_json(manifest["schema"])
    return GoldenStream(schema, dc.CodecConfig.from_json(manifest["config"]), tuple(packets))
