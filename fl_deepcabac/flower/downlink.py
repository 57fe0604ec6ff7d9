# SPDX-License-Identifier: Apache-2.0
"""Settings of the way down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from fl_deepcabac.config import CodecConfig, Profile
from fl_deepcabac.errors import ConfigError
from fl_deepcabac.models import CompressedModel

__all__ = ["DownlinkConfig"]


@dataclass(frozen=True, kw_only=True)
class DownlinkConfig:
    """How the global model travels to the nodes.

    Nodes keep a copy of the model they were sent last, and get the coded difference to the next
    one; nodes without a copy get the whole model, a keyframe. What quantisation leaves out of a
    difference is in the next one.

    Parameters
    ----------
    relative_step : float
        Step of differences, in units of the root mean square of what the global model has moved by,
        of each tensor, shared out by size and rounded to a power of two.
    keyframe_relative_step : float
        Step that the first model of a run is rounded to, in units of the root mean square of each
        tensor's weights.
    exact_keyframes : bool
        Whether the first model of a run reaches the nodes as it is; a keyframe then takes most of
        its raw bytes.
    profile : {"fast", "max"}
        A model is coded once a round, whatever the number of nodes.
    client_copy_bytes : int, optional
        Models larger than that are not kept by the nodes, and travel as keyframes every time. In
        bytes of the raw model; None sets no limit.
    threads : int
        At most so many at work on one model, in [1, 64].
    initial_model : CompressedModel, optional
        What the run starts from: give its weights (`decompress_model`) to ``start`` as
        ``initial_arrays``. Nodes without a copy get its file, as it is, and the differences since,
        for as long as that takes fewer bytes than a keyframe; they decode each of these. Without
        effect, with a warning, where the run starts from other weights.

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    relative_step: float = 2.0
    keyframe_relative_step: float = 1 / 32
    exact_keyframes: bool = False
    profile: Profile = "max"
    client_copy_bytes: int | None = None
    threads: int = 1
    initial_model: CompressedModel | None = None

    def __post_init__(self) -> None:
        checks: dict[str, tuple[bool, str]] = {
            "keyframe_relative_step": (
                _is_number(self.keyframe_relative_step)
                and 2.0**-20 <= self.keyframe_relative_step <= 1.0,
                "a number in [2**-20, 1]",
            ),
            "exact_keyframes": (isinstance(self.exact_keyframes, bool), "a bool"),
            "client_copy_bytes": (
                self.client_copy_bytes is None
                or (_is_number(self.client_copy_bytes) and self.client_copy_bytes >= 0),
                "a whole number of bytes or None",
            ),
            "initial_model": (
                self.initial_model is None or isinstance(self.initial_model, CompressedModel),
                "a CompressedModel or None",
            ),
        }
        for name, (is_good, expected) in checks.items():
            if not is_good:
                found = getattr(self, name)
                # Not the content of a file.
                found = type(found).__name__ if name == "initial_model" else found
                raise ConfigError(name, expected=expected, found=found)
        if self.profile not in get_args(Profile):
            expected = f"one of {', '.join(get_args(Profile))}"
            raise ConfigError("profile", expected=expected, found=self.profile)
        # Checks the rest.
        _ = self.codec

    @property
    def codec(self) -> CodecConfig:
        """Settings of the coder of differences."""
        return CodecConfig(
            relative_step=self.relative_step, profile=self.profile, threads=self.threads
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
