# SPDX-License-Identifier: Apache-2.0
"""What one simulated run is made of: frozen, validated, and JSON on its way to the clients.

Two runs with equal settings start from the same weights, share out the samples alike, draw the same
clients each round and shuffle alike on every client; what is left to differ is the codec.
"""

from __future__ import annotations

import json
import math
import numbers
from dataclasses import asdict, dataclass, fields

from fl_deepcabac.errors import ConfigError

__all__ = [
    "AUTO",
    "MODEL_NAMES",
    "NATURAL",
    "OPTIMIZER_NAMES",
    "STRATEGY_NAMES",
    "TASK_NAMES",
    "RunSettings",
    "SettingsError",
]

TASK_NAMES = ("digits", "fashion-mnist", "mnist", "shakespeare", "flwr-datasets")
MODEL_NAMES = ("convnet", "mlp", "resnet8", "transformer", "lora")
OPTIMIZER_NAMES = ("sgd", "adamw")
STRATEGY_NAMES = ("fedavg", "fedadam", "fedprox", "fedmedian", "krum")

# Words that `RunSettings.alpha` may be.
AUTO, IID, NATURAL = "auto", "iid", "natural"
# Which tasks AUTO stands for NATURAL in, and the concentration it stands for in all others.
_NATURAL_TASKS = ("shakespeare",)
_USUAL_ALPHA = 0.5
# Tasks whose name goes on, after a colon, with the name of a data set.
_TASKS_OF_DATASETS = ("flwr-datasets",)


class SettingsError(ConfigError):
    """A setting of a run is unknown or out of range."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSettings:
    """The settings of one federated run, apart from its codec.

    Parameters
    ----------
    task : str
        One of `TASK_NAMES`; ``flwr-datasets`` is followed by a colon and the name of a data set of
        the Hugging Face Hub.
    model : str, optional
        One of `MODEL_NAMES` that the task has; None: the task's own.
    data_dir : str, optional
        Where the files of the task are; None stands for the place the task knows.
    clients : int
        Number of simulated nodes, each with its own part of the training samples.
    rounds : int
        Rounds of training.
    alpha : float or str, optional
        Concentration of the Dirichlet distribution that skews the labels: the smaller, the fewer
        classes per client. None shares the samples out evenly at random (IID), ``"natural"`` gives
        each client one of the parts that the task brings. ``"auto"``, the default, becomes
        ``"natural"`` for shakespeare and 0.5 for other tasks. What a task cannot do is refused
        when its data is shared out.
    fraction : float
        Part of the clients that trains in each round; at least one does.
    fraction_evaluate : float, optional
        Part of the clients, drawn apart from those that train, that evaluates the result; at least
        one does, unless it is 0. None: as many as train.
    seed : int
        Seeds the partition, the initial weights, the drawing of clients and their shuffling.
    strategy : str
        One of `STRATEGY_NAMES`: how the server combines what the clients send.
    local_epochs, max_steps, batch_size : int, optional
        Passes over a client's samples per round, steps after which it stops in any case, and
        samples per step; None: the task's own.
    optimizer : str, optional
        One of `OPTIMIZER_NAMES`: SGD with momentum, or AdamW; None: the task's own.
    learning_rate, weight_decay : float, optional
        Of the optimiser; None: the task's own, or what is usual for an optimiser that is not the
        task's own.
    workers : int, optional
        Processes that train clients side by side; None: one per processor core. Changes the time a
        run takes and nothing else.

    Raises
    ------
    SettingsError
        If a value is unknown or out of range.

    Examples
    --------
    >>> settings = RunSettings(clients=4, rounds=2)
    >>> RunSettings.from_json(settings.to_json()) == settings
    True
    """

    task: str = "digits"
    model: str | None = None
    data_dir: str | None = None
    clients: int = 10
    rounds: int = 15
    alpha: float | str | None = AUTO
    fraction: float = 1.0
    fraction_evaluate: float | None = None
    seed: int = 0
    strategy: str = "fedavg"
    local_epochs: int | None = None
    max_steps: int | None = None
    batch_size: int | None = None
    optimizer: str | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        self._require_task()
        self._require_name("strategy", STRATEGY_NAMES)
        for field, names in (("model", MODEL_NAMES), ("optimizer", OPTIMIZER_NAMES)):
            if getattr(self, field) is not None:
                self._require_name(field, names)
        for field in ("clients", "rounds"):
            self._require_integer(field, low=1, high=10**6)
        self._require_integer("seed", low=0, high=2**63 - 1)
        for field in ("local_epochs", "max_steps", "batch_size", "workers"):
            if getattr(self, field) is not None:
                self._require_integer(field, low=1, high=10**6)
        self._settle_alpha()
        for field, low in (("learning_rate", 1e-9), ("weight_decay", 0.0)):
            if getattr(self, field) is not None:
                self._require_number(field, low=low, high=1e3)
        if self.fraction in (0, 0.0) or not self._is_number_in("fraction", 0.0, 1.0):
            raise SettingsError("fraction", expected="a number in (0, 1]", found=self.fraction)
        self._require_number("fraction", low=0.0, high=1.0)
        if self.fraction_evaluate is not None:
            self._require_number("fraction_evaluate", low=0.0, high=1.0)

    @property
    def cohort_size(self) -> int:
        """Number of clients that train in one round."""
        return max(1, round(self.clients * self.fraction))

    @property
    def jury_size(self) -> int:
        """Number of clients that evaluate the result of one round."""
        if self.fraction_evaluate is None:
            return self.cohort_size
        if self.fraction_evaluate == 0.0:
            return 0
        return max(1, round(self.clients * self.fraction_evaluate))

    def to_json(self) -> str:
        """Return all settings as one JSON object with sorted keys."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> RunSettings:
        """Read what `to_json` wrote.

        Raises
        ------
        SettingsError
            If the text is no such object, or holds an unknown or invalid setting.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise SettingsError("json", expected="a JSON object", found=text) from error
        return cls.from_dict(values)

    @classmethod
    def from_dict(cls, values: object) -> RunSettings:
        """Make settings of a mapping; raises as `from_json` does."""
        if not isinstance(values, dict):
            raise SettingsError("json", expected="a JSON object", found=values)
        known = {field.name for field in fields(cls)}
        for name in values:
            if name not in known:
                raise SettingsError(name, expected=f"one of {', '.join(sorted(known))}", found=name)
        return cls(**values)

    def _require_task(self) -> None:
        """Check the name of the task, and of the data set if it takes one."""
        kind, colon, dataset = str(self.task).partition(":")
        takes_dataset = kind in _TASKS_OF_DATASETS
        if kind not in TASK_NAMES or not takes_dataset == bool(colon) == bool(dataset):
            names = [f"{name}:NAME" if name in _TASKS_OF_DATASETS else name for name in TASK_NAMES]
            raise SettingsError("task", expected=f"one of {', '.join(names)}", found=self.task)

    def _settle_alpha(self) -> None:
        """Put what it stands for in place of `AUTO`, and check everything else but the words."""
        if self.alpha == AUTO:
            usual = NATURAL if self.task in _NATURAL_TASKS else _USUAL_ALPHA
            object.__setattr__(self, "alpha", usual)
        if self.alpha == IID:
            object.__setattr__(self, "alpha", None)
        if isinstance(self.alpha, str) and self.alpha != NATURAL:
            expected = f"a number, {IID}, {NATURAL} or {AUTO}"
            raise SettingsError("alpha", expected=expected, found=self.alpha)
        # Below the low end numpy's Dirichlet underflows; above the high end it is even anyway.
        if self.alpha is not None and self.alpha != NATURAL:
            self._require_number("alpha", low=1e-3, high=1e6)

    def _require_name(self, field: str, names: tuple[str, ...]) -> None:
        """Check that the field is one of the names."""
        value = getattr(self, field)
        if value not in names:
            raise SettingsError(field, expected=f"one of {', '.join(names)}", found=value)

    def _require_integer(self, field: str, *, low: int, high: int) -> None:
        """Check that the field is an integer in [low, high]."""
        value = getattr(self, field)
        if type(value) is not int or not low <= value <= high:
            raise SettingsError(field, expected=f"an integer in [{low}, {high}]", found=value)

    def _require_number(self, field: str, *, low: float, high: float) -> None:
        """Store the field as a float in [low, high]."""
        value = getattr(self, field)
        if not self._is_number_in(field, low, high):
            raise SettingsError(field, expected=f"a number in [{low:g}, {high:g}]", found=value)
        object.__setattr__(self, field, float(value))

    def _is_number_in(self, field: str, low: float, high: float) -> bool:
        """Say whether the field is a number in [low, high]."""
        value = getattr(self, field)
        is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        return is_number and math.isfinite(value) and low <= value <= high
