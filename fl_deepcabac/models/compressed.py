# SPDX-License-Identifier: Apache-2.0
"""A model to one packet and back, and the file around it.

The straight line: steps by rule, one packet against a fresh state, a container with the schema.
Files come from strangers: what is read from one is checked as a packet is, and may be limited in
size before anything is allocated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.atomic_file import write_atomically
from fl_deepcabac.codec import EncodedUpdate, decode_update, encode_update
from fl_deepcabac.config import CodecConfig
from fl_deepcabac.container import container_bytes, parse_container
from fl_deepcabac.errors import BudgetError, LimitExceededError, SchemaMismatchError
from fl_deepcabac.models.steps import VECTOR_STEP, model_steps
from fl_deepcabac.packet import inspect_packet
from fl_deepcabac.rate import budget_of
from fl_deepcabac.report import UpdateReport
from fl_deepcabac.schema import Schema
from fl_deepcabac.stream import StreamState

__all__ = ["CompressedModel", "compress_model", "decompress_model"]

Weights = Mapping[str, NDArray[np.generic]]
Arrays = dict[str, NDArray[np.generic]]

# Whole models are sent once: bits count more than seconds. The price of a bit is that of the
# paper's middle; `search` tries others.
DEFAULT_CONFIG = CodecConfig(relative_step=0.25, profile="max")


@dataclass(frozen=True)
class CompressedModel:
    """A model as one packet, with what its decoder needs.

    Parameters
    ----------
    packet : bytes
        Coded against a fresh state. Not part of what is printed.
    schema : Schema
    config : CodecConfig
        That the packet was made with; only its profile matters to a decoder.
    report : UpdateReport or None
        What each tensor cost. None where the model was read from a file.
    """

    packet: bytes = field(repr=False)
    schema: Schema = field(repr=False)
    config: CodecConfig
    report: UpdateReport | None = None

    @cached_property
    def _content(self) -> bytes:
        # A decoder needs the profile; how the steps came about is in the packet as steps.
        config = replace(self.config, threads=1, step_overrides=())
        return container_bytes(self.packet, self.schema, config)

    def to_bytes(self) -> bytes:
        """Return the content of a ``.dcbc`` file: the packet, the schema and the settings."""
        return self._content

    @property
    def n_bytes(self) -> int:
        """Bytes of the file: all that someone needs who has the program and nothing else."""
        return len(self._content)

    @property
    def ratio(self) -> float:
        """Uncompressed bytes / bytes of the file."""
        return self.schema.raw_bytes / self.n_bytes

    @property
    def bits_per_weight(self) -> float:
        """Bits of the file per weight."""
        return 8 * self.n_bytes / max(1, self.schema.n_elements)

    def save(self, path: Path | str) -> None:
        """Write the file, atomically.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        write_atomically(Path(path), self._content)

    @classmethod
    def from_bytes(cls, content: bytes, *, max_weights: int | None = None) -> CompressedModel:
        """Read what `to_bytes` returned.

        Parameters
        ----------
        content : bytes
        max_weights : int, optional
            The most weights that the model may have: a file of a hundred bytes can name two
            thousand million, all zero, and decoding allocates them.

        Raises
        ------
        DecodeError
            If the bytes are truncated, corrupt, or of a later version.
        LimitExceededError
            If the model has more weights.
        """
        packet, schema, config = parse_container(content)
        if max_weights is not None and schema.n_elements > max_weights:
            raise LimitExceededError("weights", limit=max_weights, requested=schema.n_elements)
        return cls(packet, schema, config)

    @classmethod
    def load(cls, path: Path | str, *, max_weights: int | None = None) -> CompressedModel:
        """Read a file that `save` wrote; as `from_bytes`.

        Raises
        ------
        OSError
            If it cannot be read.
        DecodeError, LimitExceededError
            As `from_bytes`.
        """
        return cls.from_bytes(Path(path).read_bytes(), max_weights=max_weights)


def compress_model(
    weights: Weights,
    config: CodecConfig = DEFAULT_CONFIG,
    *,
    importance: Weights | None = None,
    vector_step: float = VECTOR_STEP,
) -> CompressedModel:
    """Compress the weights of a model.

    Parameters
    ----------
    weights : mapping of str to ndarray
        Named tensors, as a state dict has them; floats must be finite. Integers, booleans and
        0-d tensors are kept exactly.
    config : CodecConfig
        Its step, or relative step, is that of matrices; or a target for the whole file, which all
        tensors share.
    importance : mapping of str to ndarray, optional
        What the squared error of each weight counts within its tensor, as for `encode_update`.
    vector_step : float
        The step of biases, scales and running statistics, in units of each tensor's own root mean
        square. Without a target.

    Returns
    -------
    CompressedModel

    Raises
    ------
    SchemaMismatchError, NonFiniteError, LevelRangeError, ConfigError, ImportanceError, BudgetError
        As `encode_update`.

    Examples
    --------
    >>> import numpy as np
    >>> weights = {"w": np.linspace(-1, 1, 600, dtype=np.float32).reshape(20, 30)}
    >>> model = compress_model(weights, CodecConfig(step=0.1, profile="max"))
    >>> bool(np.abs(decompress_model(model)["w"] - weights["w"]).max() < 0.2)
    True
    """
    schema = Schema.from_arrays(weights)
    given, within = None, config
    if config.step is None and config.relative_step is None:
        within = _within_file(config, schema)
    else:
        given = model_steps(weights, schema, config, vector_step=vector_step)
    encoded = encode_model(weights, schema, within, importance=importance, given=given)
    return CompressedModel(encoded.packet, schema, config, encoded.report)


def _within_file(config: CodecConfig, schema: Schema) -> CodecConfig:
    """Return the target of a file as that of the packet in it."""
    head = CompressedModel(b"", schema, config).n_bytes
    n_bytes = budget_of(config, schema)
    if n_bytes is None or n_bytes <= head:
        raise BudgetError(budget=n_bytes or 0, needed=head + 1)
    return replace(config, target_bits_per_weight=None, target_bytes=n_bytes - head)


def encode_model(
    weights: Weights, schema: Schema, config: CodecConfig, **arguments: Any
) -> EncodedUpdate:
    """Code weights as the first packet of a stream; arguments as for `encode_update`."""
    state = StreamState.fresh(schema, config.profile)
    return encode_update(weights, schema=schema, config=config, state=state, **arguments)


def decompress_model(model: CompressedModel, *, threads: int = 1) -> Arrays:
    """Return the weights of a compressed model.

    Parameters
    ----------
    model : CompressedModel
        `CompressedModel.load` reads one from a file.
    threads : int
        At most so many at work.

    Returns
    -------
    dict of str to ndarray
        Names, shapes and dtypes of the original.

    Raises
    ------
    DecodeError
        If the packet is damaged.
    SchemaMismatchError, ConfigError, StateMismatchError
        If it belongs to another model, another profile, or to the middle of a stream.
    """
    # First, because a state takes memory by the schema, which may be damaged.
    found = inspect_packet(model.packet).schema_digest
    if found != model.schema.digest:
        raise SchemaMismatchError(
            f"model: expected a packet of schema {model.schema.digest.hex()}, found {found.hex()}"
        )
    state = StreamState.fresh(model.schema, model.config.profile)
    return decode_update(model.packet, schema=model.schema, state=state, threads=threads).update
