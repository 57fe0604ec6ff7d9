# SPDX-License-Identifier: Apache-2.0
"""Whether a packet, a state and settings belong together, and a packet means what it says.

Invariant: what raises here has changed nothing.
"""

from __future__ import annotations

from fl_deepcabac.config import CodecConfig
from fl_deepcabac.errors import (
    ConfigError,
    CorruptPacketError,
    SchemaMismatchError,
    StateMismatchError,
)
from fl_deepcabac.packet import CONTENT_OFFSET, FLAGS_OFFSET, SEQUENCE_LIMIT, PacketHeader
from fl_deepcabac.schema import Schema
from fl_deepcabac.stream import StreamState

__all__ = ["check_base", "check_content", "check_state"]


def check_state(state: StreamState, schema: Schema, config: CodecConfig) -> None:
    """Refuse to encode against the state of another model or profile."""
    if state.schema_digest != schema.digest:
        raise SchemaMismatchError(
            f"stream state: expected schema {schema.digest.hex()}, "
            f"found {state.schema_digest.hex()}"
        )
    if state.profile != config.profile:
        raise ConfigError(
            "profile", expected=f"{state.profile}, as in the state", found=config.profile
        )


def check_base(header: PacketHeader, state: StreamState) -> None:
    """Refuse a packet that was not coded against this state."""
    if header.profile != state.profile:
        raise ConfigError(
            "profile", expected=f"{header.profile}, as in the packet", found=state.profile
        )
    if header.base_state_digest != state.digest:
        raise StateMismatchError(expected=state.digest, found=header.base_state_digest)
    expected = (state.is_fresh, state.sequence_number % SEQUENCE_LIMIT)
    found = (header.is_fresh, header.sequence_number)
    if found != expected:
        raise CorruptPacketError(
            "flags and sequence number",
            FLAGS_OFFSET,
            expected=f"fresh {expected[0]} and packet {expected[1]} of the stream",
            found=f"{found[0]} and {found[1]}",
        )


def check_content(header: PacketHeader, found: int) -> None:
    """Refuse a packet that does not decode to what it was made from."""
    if header.content_digest != found:
        raise CorruptPacketError(
            "content digest",
            CONTENT_OFFSET,
            expected=f"{found:08x}, that of what was decoded",
            found=f"{header.content_digest:08x}",
        )
