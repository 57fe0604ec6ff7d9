# SPDX-License-Identifier: Apache-2.0
"""The two ends of a stream of updates, and both in one for a single update.

`UpdateEncoder` and `UpdateDecoder` keep the state that `codec` takes and returns. Invariant: after
a call that raises, the state is what it was.
"""

from __future__ import annotations

from fl_deepcabac.arrays import Sensitivity
from fl_deepcabac.codec import Arrays, EncodedUpdate, Update, decode_update, encode_update
from fl_deepcabac.config import CodecConfig
from fl_deepcabac.feedback import Residual
from fl_deepcabac.report import UpdateReport
from fl_deepcabac.schema import Schema
from fl_deepcabac.stream import StreamState
from fl_deepcabac.update_norm import check_max_update_norm

__all__ = ["UpdateDecoder", "UpdateEncoder", "compress", "decompress"]


def compress(update: Update, config: CodecConfig) -> bytes:
    """Code one update by itself, without any state.

    Parameters
    ----------
    update : mapping of str to ndarray
        Floats must be finite.
    config : CodecConfig

    Returns
    -------
    bytes
        A packet that `decompress` reads, given the schema of the update.

    Raises
    ------
    NonFiniteError, LevelRangeError, SchemaMismatchError
        As `encode_update`.

    Examples
    --------
    >>> import numpy as np
    >>> update = {"w": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)}
    >>> config = CodecConfig(step=0.25, quantizer="uniform")
    >>> packet = compress(update, config)
    >>> decompress(packet, Schema.from_arrays(update), config)["w"]
    array([[-1.  , -0.5 , -0.25],
           [ 0.25,  0.5 ,  1.  ]], dtype=float32)
    """
    return UpdateEncoder(Schema.from_arrays(update), config).encode(update).packet


def decompress(packet: bytes, schema: Schema, config: CodecConfig) -> Arrays:
    """Decode what `compress` coded.

    Parameters
    ----------
    packet : bytes
    schema : Schema
    config : CodecConfig
        Only its profile matters here.

    Returns
    -------
    dict of str to ndarray

    Raises
    ------
    DecodeError, SchemaMismatchError, ConfigError
        As `decode_update`.
    """
    return UpdateDecoder(schema, config).decode(packet)


class _Stream:
    """The state that an encoder or a decoder keeps between calls.

    Parameters
    ----------
    schema : Schema
    config : CodecConfig
    """

    def __init__(self, schema: Schema, config: CodecConfig) -> None:
        self.schema = schema
        self.config = config
        self._state = StreamState.fresh(schema, config.profile)

    @property
    def state_digest(self) -> bytes:
        """Digest of the state, 8 bytes: equal on both ends after the same packets."""
        return self._state.digest

    def state_bytes(self) -> bytes:
        """Return the state as bytes, for `load_state` here or on the other end."""
        return self._state.to_bytes()

    def load_state(self, saved: bytes) -> None:
        """Go on from a saved state.

        Parameters
        ----------
        saved : bytes
            From `state_bytes` of a stream with the same schema and profile.

        Raises
        ------
        TruncatedPacketError, CorruptPacketError, UnsupportedVersionError, LimitExceededError
            If the bytes are at fault; the state is as it was.
        SchemaMismatchError, ConfigError
            If they belong to another model or profile; the state is as it was.
        """
        self._state = StreamState.from_bytes(saved, self.schema, self.config.profile)

    def reset(self) -> None:
        """Forget everything: the next packet is coded as the first."""
        self._state = StreamState.fresh(self.schema, self.config.profile)


class UpdateEncoder(_Stream):
    """The sending end of one stream: contexts and history persist from call to call.

    Parameters
    ----------
    schema : Schema
    config : CodecConfig

    Examples
    --------
    >>> import numpy as np
    >>> update = {"w": np.ones((2, 3), np.float32)}
    >>> schema, config = Schema.from_arrays(update), CodecConfig(step=0.5)
    >>> encoder, decoder = UpdateEncoder(schema, config), UpdateDecoder(schema, config)
    >>> encoded = encoder.encode(update)
    >>> bool((decoder.decode(encoded.packet)["w"] == encoded.decoded["w"]).all())
    True
    >>> encoder.state_digest == decoder.state_digest
    True
    """

    def encode(
        self,
        update: Update,
        importance: Update | None = None,
        residual: Residual | None = None,
        sensitivity: Sensitivity | None = None,
    ) -> EncodedUpdate:
        """Code the next update of the stream; see `encode_update`. On failure nothing changes.

        Without Flower, error feedback is the caller's: pass as `residual` what
        `feedback.find_residual` found after the packet before.
        """
        encoded = encode_update(
            update,
            schema=self.schema,
            config=self.config,
            state=self._state,
            importance=importance,
            residual=residual,
            sensitivity=sensitivity,
        )
        self._state = encoded.state
        return encoded


class UpdateDecoder(_Stream):
    """The receiving end of one stream.

    Parameters
    ----------
    schema : Schema
    config : CodecConfig
        Only its profile and its threads matter here.
    max_update_norm : float, optional
        The largest Euclidean norm that the floats of an update may have: `UpdateNormError` beyond.

    Attributes
    ----------
    report : UpdateReport or None
        What the last packet cost.
    """

    def __init__(
        self, schema: Schema, config: CodecConfig, *, max_update_norm: float | None = None
    ) -> None:
        super().__init__(schema, config)
        self.max_update_norm = check_max_update_norm(max_update_norm)
        self.report: UpdateReport | None = None

    def decode(self, packet: bytes) -> Arrays:
        """Decode the next packet of the stream; see `decode_update`. On failure nothing changes."""
        decoded = decode_update(
            packet,
            schema=self.schema,
            state=self._state,
            threads=self.config.threads,
            max_update_norm=self.max_update_norm,
        )
        self._state = decoded.state
        self.report = decoded.report
        return decoded.update
