# SPDX-License-Identifier: Apache-2.0
"""The state of a stream as an immutable value, with a digest that names it (spec 10).

The digest is a chain over the packets, so it costs the packet and not the model; two ends hold
equal states exactly when their digests are equal.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass

import zstandard

from fl_deepcabac.config import Profile
from fl_deepcabac.entropy import PROFILE_CODES, LevelState
from fl_deepcabac.errors import (
    ConfigError,
    CorruptPacketError,
    SchemaMismatchError,
    TruncatedPacketError,
    UnsupportedVersionError,
)
from fl_deepcabac.schema import DIGEST_BYTES, Schema
from fl_deepcabac.zstd_frame import unfold

__all__ = ["StreamState"]

MAGIC = b"FDS"
STATE_VERSION = 1
# magic, version, profile, length, sequence number, digest, schema digest, CRC-32 of all with this
# zero.
HEADER = struct.Struct("<3sBBQQ8s8sI")
PROFILES: dict[int, Profile] = {code: profile for profile, code in PROFILE_CODES.items()}
# History is mostly zeros at coarse steps: the quickest level already takes out nearly all there is.
ZSTD_LEVEL = 1


@dataclass(frozen=True, slots=True)
class StreamState:
    """Everything both ends remember of a stream.

    Parameters
    ----------
    levels : LevelState
        Contexts, steps and history.
    profile : {"fast", "max"}
    schema_digest : bytes
        8 bytes.
    digest : bytes
        8 bytes; a chain over all packets since the fresh state.
    sequence_number : int
        Packets so far.
    """

    levels: LevelState
    profile: Profile
    schema_digest: bytes
    digest: bytes
    sequence_number: int

    @classmethod
    def fresh(cls, schema: Schema, profile: Profile) -> StreamState:
        """Return the state before the first packet, which schema and profile determine."""
        seed = b"fl_deepcabac fresh" + bytes([PROFILE_CODES[profile]]) + schema.digest
        levels = LevelState.fresh(schema, profile)
        return cls(levels, profile, schema.digest, _digest(seed), 0)

    @property
    def is_fresh(self) -> bool:
        """Whether no packet has been coded yet."""
        return self.sequence_number == 0

    def after(self, packet: bytes, levels: LevelState) -> StreamState:
        """Return the state after a packet that left the level coder in `levels`."""
        digest = _digest(self.digest + packet)
        # A saved state may say that it is the last one that its field can count.
        number = (self.sequence_number + 1) % 2**64
        return StreamState(levels, self.profile, self.schema_digest, digest, number)

    def to_bytes(self) -> bytes:
        """Return the saved state (spec 10.1).

        Notes
        -----
        At most about 2 bytes a weight; far less where most levels are zero.
        """
        body = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(self.levels.to_bytes())
        return self._header(0, body) + body

    def _header(self, crc32: int, body: bytes) -> bytes:
        """Pack the header, with the CRC of itself (CRC field zero) and the body."""
        fields = (
            MAGIC,
            STATE_VERSION,
            PROFILE_CODES[self.profile],
            HEADER.size + len(body),
            self.sequence_number,
            self.digest,
            self.schema_digest,
        )
        crc32 = zlib.crc32(body, zlib.crc32(HEADER.pack(*fields, crc32)))
        return HEADER.pack(*fields, crc32)

    @classmethod
    def from_bytes(cls, saved: bytes, schema: Schema, profile: Profile) -> StreamState:
        """Restore what `to_bytes` saved, for this schema and profile.

        Raises
        ------
        TruncatedPacketError, CorruptPacketError, UnsupportedVersionError, LimitExceededError
            If the bytes are at fault.
        SchemaMismatchError, ConfigError
            If they belong to another model or profile.
        """
        _check_envelope(saved)
        _, _, code, _, number, digest, schema_digest, _ = HEADER.unpack_from(saved)
        if schema_digest != schema.digest:
            raise SchemaMismatchError(
                f"saved state: expected schema {schema.digest.hex()}, found {schema_digest.hex()}"
            )
        if (saved_profile := PROFILES.get(code)) != profile:
            expected = f"{saved_profile}, as in the saved state"
            raise ConfigError("profile", expected=expected, found=profile)
        fresh = cls.fresh(schema, profile)
        body = unfold(
            saved[HEADER.size :],
            limit=len(fresh.levels.to_bytes()),
            section="saved state",
            offset=HEADER.size,
        )
        return cls(fresh.levels.restored(body), profile, schema_digest, digest, number)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()


def _check_envelope(saved: bytes) -> None:
    """Check magic, version, length and CRC of a saved state, in this order."""
    if not isinstance(saved, bytes):
        raise TypeError(f"saved state: expected bytes, found {type(saved).__name__}")
    if saved[:3] != MAGIC[: len(saved)]:
        raise CorruptPacketError("saved state", 0, expected=MAGIC.hex(), found=saved[:3].hex())
    if len(saved) > len(MAGIC) and saved[3] > STATE_VERSION:
        raise UnsupportedVersionError(found=saved[3], supported=STATE_VERSION)
    if len(saved) < HEADER.size:
        raise TruncatedPacketError("saved state", needed=HEADER.size, available=len(saved))
    if saved[3] != STATE_VERSION:
        raise CorruptPacketError("saved state", 3, expected=f"{STATE_VERSION}", found=saved[3])
    _, _, _, total_bytes, _, _, _, crc32 = HEADER.unpack_from(saved)
    if len(saved) < total_bytes:
        raise TruncatedPacketError("saved state", needed=total_bytes, available=len(saved))
    if len(saved) > total_bytes:
        raise CorruptPacketError(
            "saved state", 5, expected=f"{len(saved)} bytes, those given", found=total_bytes
        )
    found = zlib.crc32(saved[HEADER.size :], zlib.crc32(saved[: HEADER.size - 4] + bytes(4)))
    if found != crc32:
        raise CorruptPacketError(
            "saved state", HEADER.size - 4, expected=f"CRC-32 {found:08x}", found=f"{crc32:08x}"
        )
