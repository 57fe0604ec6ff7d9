# SPDX-License-Identifier: Apache-2.0
"""The commands for files: compress, decompress, inspect.

They read, call the codec once, write and say what came of it. Invariant: a command that fails
leaves its target as it was.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fl_deepcabac import (
    CodecConfig,
    PacketHeader,
    Schema,
    UpdateDecoder,
    UpdateEncoder,
    UpdateReport,
    inspect_packet,
)
from fl_deepcabac.cli.arguments import codec_config_of
from fl_deepcabac.cli.array_files import (
    read_arrays,
    refuse_array_name,
    require_array_name,
    require_other_file,
    write_arrays,
)
from fl_deepcabac.config import RATE_SETTINGS
from fl_deepcabac.container import is_container, parse_container, read_container, write_container

__all__ = ["compress_file", "decompress_file", "inspect_file"]

# Above this part of the update's own RMS, an error has taken most of the update.
_LOST_SHARE = 0.8


def compress_file(arguments: argparse.Namespace, console: Console) -> None:
    """Compress the arrays of a file.

    Parameters
    ----------
    arguments : Namespace
        `source`, `target` and the settings of the codec.
    console : Console
        For one line on what came out, and a warning if that is little of what went in.
    """
    config = codec_config_of(arguments)
    if all(getattr(arguments, name, None) is None for name in RATE_SETTINGS):
        # No later update makes up for what this one loses.
        alone = CodecConfig.auto(arguments.quality or "balanced", error_feedback=False)
        config = replace(config, relative_step=alone.relative_step)
    refuse_array_name(arguments.target)
    require_other_file(arguments.source, arguments.target)
    update = read_arrays(arguments.source)
    schema = Schema.from_arrays(update)
    encoded = UpdateEncoder(schema, config).encode(update)
    write_container(arguments.target, encoded.packet, schema, config)
    report = encoded.report
    share = _error_share(update, schema, report)
    console.print(
        f"{arguments.target}: {report.packet_bytes:,} bytes for {report.raw_bytes:,} in "
        f"{len(schema.tensors)} tensors, ratio {report.ratio:.1f}, "
        f"{report.bits_per_weight:.3f} bits per weight, RMS error {report.rmse:.3g} "
        f"({100 * share:.0f} % of the update's RMS)",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    if share > _LOST_SHARE:
        console.print(
            "warning: most of the update is lost; a smaller --step or --relative-step, or a larger "
            "target, keeps more of it",
            markup=False,
            highlight=False,
            soft_wrap=True,
            style="yellow",
        )


def _error_share(update: Mapping[str, NDArray[Any]], schema: Schema, report: UpdateReport) -> float:
    """Return RMS error / RMS of the update; exact tensors, which have no error, are left out."""
    error = energy = 0.0
    for spec, tensor in zip(schema.tensors, report.tensors, strict=True):
        if not spec.is_exact:
            error += (tensor.rmse or 0.0) ** 2 * tensor.n_elements
            energy += float(np.sum(np.square(update[spec.name], dtype=np.float64)))
    return math.sqrt(error / energy) if energy else 0.0


def decompress_file(arguments: argparse.Namespace, console: Console) -> None:
    """Restore the arrays of a compressed file.

    Parameters
    ----------
    arguments : Namespace
        `source` and `target`.
    console : Console
        For one line on what came out.
    """
    require_array_name(arguments.target)
    require_other_file(arguments.source, arguments.target)
    packet, schema, config = read_container(arguments.source)
    write_arrays(arguments.target, UpdateDecoder(schema, config).decode(packet))
    console.print(
        f"{arguments.target}: {len(schema.tensors)} tensors, {schema.n_elements:,} elements",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def inspect_file(
    arguments: argparse.Namespace, console: Console, *, shows_config: bool = True
) -> None:
    """Show the header of a packet, and what each tensor takes where that can be known.

    Parameters
    ----------
    arguments : Namespace
        `packet`, `like` and `json`.
    console : Console
        For the tables or the JSON.
    shows_config : bool
        Whether settings in the file are shown, too.
    """
    content = arguments.packet.read_bytes()
    n_file_bytes, schema, config = len(content), None, None
    if is_container(content):
        content, schema, config = parse_container(content)
    elif arguments.like is not None:
        schema = Schema.from_arrays(read_arrays(arguments.like))
    header = inspect_packet(content)
    shown = config if shows_config else None
    report = _decode_report(content, header, schema, config)
    if arguments.json:
        described = {"file_bytes": n_file_bytes, **_describe(header, schema, shown, report)}
        console.print_json(json.dumps(described), indent=2, highlight=console.is_terminal)
        return
    title = f"{arguments.packet}, {n_file_bytes:,} bytes"
    console.print(_header_table(title, header, shown))
    if report is not None and schema is not None:
        console.print(_tensor_table(report, schema))
    elif not header.is_fresh:
        console.print("Bytes per tensor: unknown, they depend on the packets before this one.")
    else:
        console.print("Bytes per tensor: unknown without a schema; --like IN.npz gives one.")


def _decode_report(
    packet: bytes, header: PacketHeader, schema: Schema | None, config: CodecConfig | None
) -> UpdateReport | None:
    """Decode a packet for what its tensors take; None where it cannot be decoded by itself."""
    if schema is None or not header.is_fresh:
        return None
    decoder = UpdateDecoder(schema, config or CodecConfig(profile=header.profile))
    decoder.decode(packet)
    return decoder.report


def _describe(
    header: PacketHeader,
    schema: Schema | None,
    config: CodecConfig | None,
    report: UpdateReport | None,
) -> dict[str, Any]:
    """Return everything known as JSON values."""
    return {
        "header": _header_values(header),
        "config": None if config is None else json.loads(config.to_json()),
        "schema": None if schema is None else json.loads(schema.to_json()),
        "report": None if report is None else report.to_dict(),
    }


def _header_values(header: PacketHeader) -> dict[str, Any]:
    """Return the header with its digests in hexadecimal."""
    return {
        name: value.hex() if isinstance(value, bytes) else value
        for name, value in asdict(header).items()
    }


def _header_table(title: str, header: PacketHeader, config: CodecConfig | None) -> Table:
    """Lay out the header of a packet, and the settings if they are known."""
    # A path is no markup.
    table = Table(box=box.SIMPLE_HEAD, title=Text(title), title_justify="left")
    table.add_column("header of the packet")
    table.add_column("")
    for name, value in _header_values(header).items():
        shown = (
            f"{value:08x}"
            if name in {"crc32", "content_digest"}
            else f"{value:,}"
            if type(value) is int
            else str(value)
        )
        table.add_row(name.replace("_", " "), shown)
    if config is not None:
        for name, value in asdict(config).items():
            if value is not None:
                table.add_row(f"config: {name.replace('_', ' ')}", str(value))
    return table


def _tensor_table(report: UpdateReport, schema: Schema) -> Table:
    """Lay out what each tensor takes."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("tensor")
    for title in ("shape", "dtype", "bytes", "bits/weight", "non-zero", "step"):
        table.add_column(title, justify="right")
    for tensor, spec in zip(report.tensors, schema.tensors, strict=True):
        table.add_row(
            Text(tensor.name),
            " x ".join(map(str, spec.shape)) or "scalar",
            spec.dtype,
            f"{tensor.n_bytes:,}",
            f"{tensor.bits_per_weight:.3f}",
            f"{tensor.n_nonzero:,}",
            "exact" if spec.is_exact else "–" if tensor.step is None else f"{tensor.step:.4g}",
        )
    table.add_section()
    table.add_row("header", "", "", f"{report.header_bytes:,}", "", "", "")
    table.add_row(
        "all",
        f"{schema.n_elements:,}",
        "",
        f"{report.packet_bytes:,}",
        f"{report.bits_per_weight:.3f}",
        f"{report.n_nonzero:,}",
        "",
    )
    return table
