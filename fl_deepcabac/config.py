# SPDX-License-Identifier: Apache-2.0
"""The settings of a stream: frozen, validated, and the same text on both ends.

Only `profile` changes how a packet is decoded; everything else is the encoder's choice and travels
in the packet where the decoder needs it (spec 5.2).
"""

from __future__ import annotations

import json
import math
import numbers
from dataclasses import asdict, dataclass, fields
from typing import Literal, get_args

from fl_deepcabac.errors import ConfigError

__all__ = ["Allocation", "CodecConfig", "Profile", "QuantizerName"]

Profile = Literal["fast", "max"]
QuantizerName = Literal["rdoq", "deadzone", "uniform"]
Allocation = Literal["size", "uniform"]

# docs/decisions/0004: the coarsest setting that kept accuracy in the runs recorded there.
DEFAULT_RELATIVE_STEP = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class CodecConfig:
    """How updates are quantised and coded.

    Parameters
    ----------
    step : float, optional
        Width of the quantiser for every tensor, in the units of the update.
    relative_step : float, optional
        Width in units of the root mean square of each tensor's own update, shared out by
        `allocation`. Give one of the two; with neither, the default of the package applies.
    profile : {"fast", "max"}
        Context model: one adaptive context per bin, or several predictions mixed (spec 7).
    quantizer : {"rdoq", "deadzone", "uniform"}
        ``"rdoq"`` minimises error + `rd_lambda` * bits with the live costs of the coder
        (DeepCABAC); ``"deadzone"`` rounds down below `dead_zone`; ``"uniform"`` rounds to the
        nearest level.
    rd_lambda : float
        Price of one bit, in units of squared steps. Used by ``"rdoq"``.
    dead_zone : float
        A fraction of a step below this rounds towards zero, in [0.5, 1). Used by ``"deadzone"``.
    allocation : {"size", "uniform"}
        How a relative step is shared out: finer for small tensors, or the same for all.
    error_feedback : bool
        Whether a Flower client adds what quantisation left out to its next update.

    Raises
    ------
    ConfigError
        If a value is out of range, or both steps are given.

    Examples
    --------
    >>> config = CodecConfig(step=0.004)
    >>> CodecConfig.from_json(config.to_json()) == config
    True
    """

    step: float | None = None
    relative_step: float | None = None
    profile: Profile = "fast"
    quantizer: QuantizerName = "rdoq"
    rd_lambda: float = 0.1
    dead_zone: float = 0.6
    allocation: Allocation = "size"
    error_feedback: bool = True

    def __post_init__(self) -> None:
        if self.step is None and self.relative_step is None:
            object.__setattr__(self, "relative_step", DEFAULT_RELATIVE_STEP)
        if self.step is not None and self.relative_step is not None:
            found = (self.step, self.relative_step)
            raise ConfigError("step", expected="step or relative_step, not both", found=found)
        for field, low, high in (
            # Above 2**-100 and below 2**100 every product with a level stays a normal float32.
            ("step", 2.0**-100, 2.0**100),
            ("relative_step", 1e-6, 1e6),
            ("rd_lambda", 0.0, 100.0),
            ("dead_zone", 0.5, 0.999),
        ):
            self._require_number(field, low, high)
        for field, names in (
            ("profile", get_args(Profile)),
            ("quantizer", get_args(QuantizerName)),
            ("allocation", get_args(Allocation)),
        ):
            value = getattr(self, field)
            if value not in names:
                raise ConfigError(field, expected=f"one of {', '.join(names)}", found=value)
        if not isinstance(self.error_feedback, bool):
            raise ConfigError("error_feedback", expected="a bool", found=self.error_feedback)

    def _require_number(self, field: str, low: float, high: float) -> None:
        """Store the field as a float within [low, high]; None is allowed for the two steps."""
        value = getattr(self, field)
        if value is None and field in {"step", "relative_step"}:
            return
        is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or not low <= value <= high:
            raise ConfigError(field, expected=f"a number in [{low:g}, {high:g}]", found=value)
        object.__setattr__(self, field, float(value))

    def to_json(self) -> str:
        """Return all settings as one JSON object with sorted keys."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> CodecConfig:
        """Read what `to_json` wrote.

        Raises
        ------
        ConfigError
            If the text is no JSON object, or holds a setting that is unknown or out of range.
        """
        try:
            values = json.loads(text)
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigError("json", expected="a JSON object", found=text) from error
        if not isinstance(values, dict):
            raise ConfigError("json", expected="a JSON object", found=text)
        known = {field.name for field in fields(cls)}
        for name in values:
            if name not in known:
                raise ConfigError(name, expected=f"one of {', '.join(sorted(known))}", found=name)
        return cls(**values)
