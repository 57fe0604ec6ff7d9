# SPDX-License-Identifier: Apache-2.0
"""The settings of a stream: frozen, validated, and the same text on both ends.

Only `profile` changes how a packet is decoded; everything else is the encoder's choice and travels
in the packet where the decoder needs it (spec 5.2).
"""

from __future__ import annotations

import contextlib
import json
import math
import numbers
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from fl_deepcabac.errors import ConfigError

__all__ = ["RATE_SETTINGS", "Allocation", "CodecConfig", "Profile", "Quality", "QuantizerName"]

Profile = Literal["fast", "max"]
QuantizerName = Literal["rdoq", "deadzone", "uniform", "stochastic"]
Allocation = Literal["size", "uniform"]
Quality = Literal["near-lossless", "balanced", "smallest"]

# Safe for a single update or a stream without error feedback; Flower's strategies have settings of
# their own (`flower.default_config`, docs/decisions/0019).
DEFAULT_RELATIVE_STEP = 1.0
MAX_RELATIVE_STEP = 1e6

# By quality (docs/decisions/0014): relative step with error feedback, without, profile.
_QUALITIES: dict[str, tuple[float, float, Profile]] = {
    "near-lossless": (1.0, 0.1, "fast"),
    "balanced": (6.0, 0.5, "fast"),
    "smallest": (12.0, 1.0, "max"),
}

# What decides how many bits an update gets; one of them at a time.
RATE_SETTINGS = (
    "step",
    "relative_step",
    "relative_step_per_client",
    "target_bits_per_weight",
    "target_bytes",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class CodecConfig:
    """How updates are quantised and coded.

    Parameters
    ----------
    step : float, optional
        Width of the quantiser for every tensor, in the units of the update.
    relative_step : float, optional
        Width in units of the root mean square of each tensor's own update, without the residual of
        error feedback, shared out by `allocation`. 1.0 if neither steps nor targets are given.
    relative_step_per_client : float, optional
        Instead of it, with the quantiser ``"stochastic"``: the relative step for each client that a
        round averages, because the noise of n of them is an n-th. Flower's strategies multiply, by
        what they expect of each round; elsewhere `for_clients` does.
    target_bits_per_weight : float, optional
        Instead of a step: most bits per weight of a packet, all its bytes counted. Steps are
        searched anew for each update (`rate`), shared out by `allocation`.
    target_bytes : int, optional
        Instead of a step: most bytes of a packet.
    profile : {"fast", "max"}
        Context model: one adaptive context per bin, or several predictions mixed (spec 7).
    quantizer : {"rdoq", "deadzone", "uniform", "stochastic"}
        ``"rdoq"`` minimises error + `rd_lambda` * bits with the live costs of the coder
        (DeepCABAC); ``"deadzone"`` rounds down below `dead_zone`; ``"uniform"`` rounds to the
        nearest level; ``"stochastic"`` to one of the two nearest by chance, so that the mean is the
        value: at steps of tens of root mean squares the errors of many clients average out.
    trellis : bool, optional
        Whether ``"rdoq"`` uses two interleaved quantisers and looks for the best path through them
        (dependent quantisation): less error at the same rate, for about half the encoder's speed.
        If not given, the profile ``"max"`` does and ``"fast"`` does not.
    rd_lambda : float
        Price of one bit, in units of squared steps. Used by ``"rdoq"``, and where offsets are
        fitted.
    dead_zone : float
        A fraction of a step below this rounds towards zero, in [0.5, 1). Used by ``"deadzone"``.
    allocation : {"size", "uniform"}
        How a relative step is shared out: finer for small tensors, or the same for all.
    step_overrides : mapping of str to float, or pairs
        Factors on the steps of tensors by name: the first pattern that matches wins, ``*``, ``?``
        and ``[...]`` as in file names, upper and lower case told apart. Kept as a tuple of pairs. A
        pattern that matches no tensor of the schema is a `ConfigError` when an update is encoded.
        Without a pattern of theirs, running statistics of normalisation layers (``running_mean``,
        ``running_var``, ``moving_mean``, ``moving_variance``, all below ``batch_stats``) have 0.02,
        except beside an absolute step.
    error_feedback : bool
        Whether a Flower client adds what quantisation left out to its next update. Never with the
        quantiser ``"stochastic"``, which leaves nothing out on average.
    threads : int
        At most so many at work on one update, in [1, 64]. Models of half a million weights and more
        are coded in chunks; packets are the same for every number.

    Raises
    ------
    ConfigError
        If a value is out of range, or more than one of steps and targets is given.

    Examples
    --------
    >>> config = CodecConfig(step=0.004)
    >>> CodecConfig.from_json(config.to_json()) == config
    True
    """

    step: float | None = None
    relative_step: float | None = None
    relative_step_per_client: float | None = None
    target_bits_per_weight: float | None = None
    target_bytes: int | None = None
    profile: Profile = "fast"
    quantizer: QuantizerName = "rdoq"
    trellis: bool | None = None
    rd_lambda: float = 0.13
    dead_zone: float = 0.6
    allocation: Allocation = "size"
    step_overrides: Mapping[str, float] | Iterable[tuple[str, float]] = ()
    error_feedback: bool = True
    threads: int = 1

    def __post_init__(self) -> None:
        given = [name for name in RATE_SETTINGS if getattr(self, name) is not None]
        if not given:
            object.__setattr__(self, "relative_step", DEFAULT_RELATIVE_STEP)
        if len(given) > 1:
            found = tuple(getattr(self, name) for name in given)
            expected = f"{' or '.join(given)}, not both" if not given[2:] else f"one of {given}"
            raise ConfigError(given[0], expected=expected, found=found)
        for field, low, high in (
            # Above 2**-100 and below 2**100 every product with a level stays a normal float32.
            ("step", 2.0**-100, 2.0**100),
            ("relative_step", 1e-6, MAX_RELATIVE_STEP),
            ("relative_step_per_client", 1e-6, MAX_RELATIVE_STEP),
            ("target_bits_per_weight", 1e-6, 64.0),
            ("target_bytes", 1, 2**32 - 1),
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
        if self.quantizer == "stochastic":
            object.__setattr__(self, "error_feedback", False)
        elif self.relative_step_per_client is not None:
            expected = "stochastic, with relative_step_per_client"
            raise ConfigError("quantizer", expected=expected, found=self.quantizer)
        if self.trellis is not None and not isinstance(self.trellis, bool):
            raise ConfigError("trellis", expected="a bool or None", found=self.trellis)
        if self.trellis and self.quantizer != "rdoq":
            raise ConfigError("quantizer", expected="rdoq, with a trellis", found=self.quantizer)
        if not _checked_number("threads", self.threads, 1, 64).is_integer():
            raise ConfigError("threads", expected="a whole number", found=self.threads)
        object.__setattr__(self, "threads", int(self.threads))
        object.__setattr__(self, "step_overrides", _checked_overrides(self.step_overrides))

    @classmethod
    def auto(cls, quality: Quality = "balanced", **settings: Any) -> CodecConfig:
        """Return settings by quality, for a stream with error feedback.

        Strategies that average, or select, want others: `flower.default_config` knows which.

        Parameters
        ----------
        quality : {"near-lossless", "balanced", "smallest"}
            What training does not notice; a fiftieth to a hundredth of the bytes; and half of
            these, for a point of accuracy more.
        **settings
            Others of this class, neither steps nor targets. With ``error_feedback=False``, as for a
            single update, steps are much finer: no later update makes up for what one has lost.

        Raises
        ------
        ConfigError
            If the quality is unknown, a step or target is given beside it, or a setting is out of
            range.

        Examples
        --------
        >>> CodecConfig.auto("smallest", threads=2).profile
        'max'
        """
        if quality not in _QUALITIES:
            expected = f"one of {', '.join(_QUALITIES)}"
            raise ConfigError("quality", expected=expected, found=quality)
        for name in RATE_SETTINGS:
            if settings.get(name) is not None:
                expected = f"no {name} beside it, which decides the quality too"
                raise ConfigError("quality", expected=expected, found=quality)
        with_feedback, without, profile = _QUALITIES[quality]
        step = with_feedback if settings.get("error_feedback", True) else without
        return cls(**{"profile": profile, **settings, "relative_step": step})

    def for_clients(self, n_clients: float) -> CodecConfig:
        """Return the settings for a round that averages so many clients.

        Parameters
        ----------
        n_clients : float
            At least 1. With unequal weights fewer than there are, ``sum(w)**2 / sum(w**2)``.

        Returns
        -------
        CodecConfig
            With a `relative_step` in the place of `relative_step_per_client`, rounded to four
            digits; these settings, where that is not given.

        Raises
        ------
        ConfigError
            If the number is below 1, or no number.

        Examples
        --------
        >>> config = CodecConfig(relative_step_per_client=8, quantizer="stochastic")
        >>> config.for_clients(10).relative_step
        80.0
        """
        _checked_number("n_clients", n_clients, 1.0, 1e9)
        if self.relative_step_per_client is None:
            return self
        # Short in the settings of each message.
        step = min(float(f"{self.relative_step_per_client * n_clients:.4g}"), MAX_RELATIVE_STEP)
        return replace(self, relative_step_per_client=None, relative_step=step)

    @property
    def uses_trellis(self) -> bool:
        """Whether levels are chosen by the trellis, given or by default."""
        return self.quantizer == "rdoq" and (
            self.profile == "max" if self.trellis is None else self.trellis
        )

    def _require_number(self, field: str, low: float, high: float) -> None:
        """Store the field as a number within [low, high]; None is allowed for steps and targets."""
        value = getattr(self, field)
        if value is None and field in RATE_SETTINGS:
            return
        number = _checked_number(field, value, low, high)
        if field == "target_bytes" and not number.is_integer():
            raise ConfigError(field, expected="a whole number of bytes", found=value)
        object.__setattr__(self, field, int(number) if field == "target_bytes" else number)

    def to_json(self) -> str:
        """Return all settings as one JSON object with sorted keys."""
        settings = asdict(self)
        if self.relative_step_per_client is None:
            # Not on the wire, where strategies have multiplied: nodes of before it know no such.
            del settings["relative_step_per_client"]
        return json.dumps(settings, sort_keys=True, separators=(",", ":"))

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


def _checked_number(field: str, value: object, low: float, high: float) -> float:
    """Return a number within [low, high] as a float."""
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        # Integers, as JSON has them too, may be beyond any float.
        with contextlib.suppress(OverflowError):
            number = float(value)
            if math.isfinite(number) and low <= number <= high:
                return number
    raise ConfigError(field, expected=f"a number in [{low:g}, {high:g}]", found=value)


def _checked_overrides(overrides: object) -> tuple[tuple[str, float], ...]:
    """Return patterns and factors as a tuple of pairs, in the order given."""
    field = "step_overrides"
    pairs = overrides.items() if isinstance(overrides, Mapping) else overrides
    if isinstance(pairs, str) or not isinstance(pairs, Iterable):
        raise ConfigError(field, expected="patterns and factors", found=overrides)
    checked: dict[str, float] = {}
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or [isinstance(part, str) for part in pair] != [
            True,
            False,
        ]:
            raise ConfigError(field, expected="pairs of a pattern and a factor", found=pair)
        pattern, factor = pair
        if not pattern or pattern in checked:
            raise ConfigError(field, expected="patterns, each of them once", found=pattern)
        checked[pattern] = _checked_number(field, factor, 1e-6, 1e6)
    return tuple(checked.items())
