# SPDX-License-Identifier: Apache-2.0
"""Every exception the package raises on purpose.

Each class names one kind of failure and carries its facts as attributes, so that a caller can react
without parsing text. Invariant: a message says what was expected, what was found, and where; and an
operation that raises has left every encoder, decoder and state as it was.
"""

from __future__ import annotations

__all__ = [
    "BudgetError",
    "CheckpointError",
    "ConfigError",
    "CorruptPacketError",
    "DecodeError",
    "DeepCabacError",
    "EncodeError",
    "ImportanceError",
    "LevelRangeError",
    "LimitExceededError",
    "NonFiniteError",
    "SchemaMismatchError",
    "SensitivityError",
    "StateMismatchError",
    "TruncatedPacketError",
    "UnsupportedVersionError",
    "UpdateNormError",
]


class DeepCabacError(Exception):
    """Base of every exception of this package."""

    def __reduce__(self) -> tuple[object, ...]:
        # Worker processes hand exceptions over as copies, which must not run __init__ again: its
        # keyword arguments are gone by then.
        return type(self).__new__, (type(self), *self.args), self.__dict__


class ConfigError(DeepCabacError, ValueError):
    """A setting is missing, unknown or out of range.

    Attributes
    ----------
    field : str
        Name of the setting.
    """

    def __init__(self, field: str, *, expected: str, found: object) -> None:
        super().__init__(f"setting {field!r}: expected {expected}, found {found!r}")
        self.field = field


class SchemaMismatchError(DeepCabacError, ValueError):
    """The update or packet is sound but belongs to another model."""


class EncodeError(DeepCabacError, ValueError):
    """What the caller gave cannot be coded."""


class NonFiniteError(EncodeError):
    """A tensor holds NaN or infinity, which no level can stand for.

    Attributes
    ----------
    tensor : str
        Name of the tensor.
    index : tuple of int
        Position of the first such element.
    """

    def __init__(self, tensor: str, index: tuple[int, ...], value: float) -> None:
        super().__init__(
            f"tensor {tensor!r}: expected finite values, found {value} at index {index}"
        )
        self.tensor = tensor
        self.index = index


class LevelRangeError(EncodeError):
    """A value is too many steps away from zero.

    Attributes
    ----------
    tensor : str
        Name of the tensor.
    value : float
        The value, in the units of the tensor.
    """

    def __init__(self, tensor: str, value: float, *, step: float, limit: int) -> None:
        super().__init__(
            f"tensor {tensor!r}: expected at most {limit} steps of {step:g}, "
            f"found the value {value:g}; use a larger step"
        )
        self.tensor = tensor
        self.value = value


class BudgetError(EncodeError):
    """The budget is smaller than the smallest packet, that of all levels zero.

    Attributes
    ----------
    budget, needed : int
        Bytes.
    """

    def __init__(self, *, budget: int, needed: int) -> None:
        super().__init__(
            f"packet: expected at most {budget} bytes, the budget, found {needed} with all levels "
            "zero; use a larger budget"
        )
        self.budget = budget
        self.needed = needed


class ImportanceError(EncodeError):
    """An importance is negative or not finite.

    Attributes
    ----------
    tensor : str
        Name of the tensor.
    index : tuple of int
        Position of the first such element.
    """

    def __init__(self, tensor: str, index: tuple[int, ...], value: float) -> None:
        super().__init__(
            f"importance of tensor {tensor!r}: expected finite values of at least 0, "
            f"found {value} at index {index}"
        )
        self.tensor = tensor
        self.index = index


class SensitivityError(EncodeError):
    """A sensitivity is negative or not finite, or that of a whole tensor is zero.

    Attributes
    ----------
    tensor : str
        Name of the tensor.
    index : tuple of int
        Position of the first such element; empty for a scalar and for a tensor of zeros.
    """

    def __init__(self, tensor: str, index: tuple[int, ...], value: float) -> None:
        where = f" at index {index}" if index else ""
        super().__init__(
            f"sensitivity of tensor {tensor!r}: expected finite values of at least 0 with a mean "
            f"above 0, found {value}{where}"
        )
        self.tensor = tensor
        self.index = index


class DecodeError(DeepCabacError, ValueError):
    """The bytes are at fault."""


class TruncatedPacketError(DecodeError):
    """The packet ends before its content does.

    Attributes
    ----------
    needed, available : int
        Bytes.
    """

    def __init__(self, what: str = "packet", *, needed: int, available: int) -> None:
        super().__init__(f"{what}: expected at least {needed} bytes, found {available}")
        self.needed = needed
        self.available = available


class CorruptPacketError(DecodeError):
    """The bytes contradict the format.

    Attributes
    ----------
    section : str
        Part of the packet, by its name in the bitstream specification.
    offset : int
        Byte offset within the packet.
    """

    def __init__(self, section: str, offset: int, *, expected: str, found: object) -> None:
        super().__init__(f"{section} at byte {offset}: expected {expected}, found {found}")
        self.section = section
        self.offset = offset


class CheckpointError(DecodeError):
    """A checkpoint file is damaged, or is none.

    Attributes
    ----------
    path : str
        Of the file.
    """

    def __init__(self, path: str, *, expected: str, found: object) -> None:
        super().__init__(f"checkpoint {path}: expected {expected}, found {found}")
        self.path = path


class UnsupportedVersionError(DecodeError):
    """The bytes follow a newer version of the format.

    Attributes
    ----------
    found, supported : int
        Format versions.
    """

    def __init__(self, *, found: int, supported: int) -> None:
        super().__init__(
            f"expected format version {supported} or older, found {found}: upgrade fl_deepcabac"
        )
        self.found = found
        self.supported = supported


class LimitExceededError(DecodeError):
    """The bytes ask for more than the schema can need.

    Attributes
    ----------
    limit, requested : int
        In the unit that the message names.
    """

    def __init__(self, what: str, *, limit: int, requested: int) -> None:
        super().__init__(f"{what}: expected at most {limit}, found {requested}")
        self.limit = limit
        self.requested = requested


class StateMismatchError(DecodeError):
    """The packet was coded against a state that this side does not hold.

    Attributes
    ----------
    expected, found : bytes
        Digest of the state held here, and of the one the packet names. 8 bytes each.
    """

    def __init__(self, *, expected: bytes, found: bytes) -> None:
        super().__init__(
            f"stream state: expected a packet coded against {expected.hex()}, found {found.hex()}"
        )
        self.expected = expected
        self.found = found


class UpdateNormError(DecodeError):
    """The update is sound but longer than its receiver takes.

    Attributes
    ----------
    norm, limit : float
        Euclidean norm of the decoded update, and the most that was allowed.
    """

    def __init__(self, *, norm: float, limit: float) -> None:
        super().__init__(f"update: expected a norm of at most {limit:g}, found {norm:g}")
        self.norm = norm
        self.limit = limit


class LevelCoderError(ValueError):
    """The core refused its input; not public, because `codec` turns it into one of the above.

    Attributes
    ----------
    code : int
        Status of the core: 10 not finite, 11 level range, 12 step range, 40 length.
    position : int
        Flat index of the first value at fault, or tensor index for a step.
    """

    def __init__(self, code: int, position: int) -> None:
        super().__init__(f"core status {code} at {position}")
        self.code = code
        self.position = position
