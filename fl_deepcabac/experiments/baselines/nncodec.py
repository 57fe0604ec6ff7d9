# SPDX-License-Identifier: Apache-2.0
"""NNCodec, the reference software of the NNC standard, which DeepCABAC has grown into.

NNCodec 2.1.3 needs NumPy 1, so it has an interpreter of its own; `nncodec_worker` runs there. It is
called as its federated pipeline calls it, as differences to a base, through the function that this
pipeline calls; tensors are numbered, because their names would travel. All of its bytes count.

References
----------
.. [1] D. Becking et al., "Neural Network Coding of Difference Updates for Efficient Distributed
   Learning Communication", IEEE Trans. Multimedia 26, 2024.
.. [2] ISO/IEC 15938-17: quantisation parameters and steps.
"""

from __future__ import annotations

import math
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.arrays import check_update, join_exact
from fl_deepcabac.errors import EncodeError, LevelRangeError
from fl_deepcabac.experiments.baselines.checks import (
    require_bool,
    require_integer,
    require_number,
)
from fl_deepcabac.experiments.baselines.method import (
    RESIDUAL,
    Memory,
    Update,
    add_residual,
    check_values,
    find_left_out,
    join_tensors,
    read_exact,
    tensor_slices,
)
from fl_deepcabac.experiments.baselines.nncodec_process import (
    Base,
    Coded,
    NnCodecProcess,
    WorkerError,
    shared_process,
)
from fl_deepcabac.experiments.baselines.payload import PayloadReader, seal
from fl_deepcabac.experiments.settings import SettingsError
from fl_deepcabac.schema import Schema

__all__ = ["PYTHON_VARIABLE", "NnCodec", "nearest_qp", "step_of"]

# Names the interpreter where the setting does not.
PYTHON_VARIABLE: Final = "NNCODEC_PYTHON"
LEVELS: Final = "levels"
DEPTHS: Final = "depths"
_DEFAULT_QP: Final = -32
# Levels are int32, with room for rounding.
_MAX_LEVEL: Final = 2**30


@dataclass(frozen=True, kw_only=True)
class NnCodec:
    """Updates as NNCodec codes them [1]_.

    Parameters
    ----------
    python : str, optional
        Interpreter of an environment with NNCodec; that which NNCODEC_PYTHON names if not given.
    qp : int, optional
        Quantisation parameter of tensors with two axes and more: four more double the step [2]_.
        -32 if no `relative_step` is given either, as in NNCodec.
    relative_step : float, optional
        Instead: the nearest step to so many root mean squares of all values, anew for each update.
    nonweight_qp : int
        Of tensors with one axis.
    use_dq : bool
        Dependent quantisation.
    tca : bool
        Temporal context adaptation: contexts see the levels of the update before. The server then
        remembers these of each node, and one that is lost leaves the two at odds.
    row_skipping, param_opt : bool
        Flags for rows of zeros; search for start values of the contexts.
    lambda_scale : float
        Price of a bit in rate-distortion optimised quantisation.
    error_feedback : bool
        Whether what is lost of an update is added to the next.

    Raises
    ------
    SettingsError
        If a setting is out of range, or NNCodec is not there.

    Notes
    -----
    The time of the first update includes the start of the interpreter, some seconds.
    """

    name: ClassVar[str] = "nncodec"
    python: str | None = None
    qp: int | None = None
    relative_step: float | None = None
    nonweight_qp: int = -75
    use_dq: bool = True
    tca: bool = True
    row_skipping: bool = True
    param_opt: bool = True
    lambda_scale: float = 0.0
    error_feedback: bool = True
    _process: NnCodecProcess = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for flag in ("use_dq", "tca", "row_skipping", "param_opt", "error_feedback"):
            require_bool(self, flag)
        if self.qp is not None:
            require_integer(self, "qp", -128, 64)
            if self.relative_step is not None:
                raise SettingsError("qp", expected="none beside relative_step", found=self.qp)
        if self.relative_step is not None:
            require_number(self, "relative_step", 1e-6, 1e6)
        require_integer(self, "nonweight_qp", -128, 64)
        require_number(self, "lambda_scale", 0.0, 1e3)
        object.__setattr__(self, "_process", shared_process(_find_python(self.python)))

    def describe(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return {
            name: getattr(self, name) for name in self.__dataclass_fields__ if name != "_process"
        }

    def encode(
        self, update: Update, schema: Schema, memory: Mapping[str, Any], rng: np.random.Generator
    ) -> tuple[bytes, Memory]:
        """Return an update as bytes; see `Method.encode`."""
        del rng
        arrays = check_update(update, schema)
        values = check_values(arrays, schema)
        if self.error_feedback:
            values = add_residual(values, memory)
        exact, shapes = join_exact(arrays, schema), _shapes(schema)
        if not shapes:
            return exact + seal(b""), {}
        settings = self._settings(values, schema)
        try:
            coded = self._process.encode(values, shapes, settings, _base(memory))
        except WorkerError as error:
            raise EncodeError(f"NNCodec: {error}") from None
        after = _remember(coded) if self.tca else {}
        if self.error_feedback:
            decoded = join_tensors(schema, read_exact(PayloadReader(exact), schema), coded.values)
            after[RESIDUAL] = find_left_out(values, decoded, schema)
        return exact + seal(coded.bitstream), after

    def decode(
        self, payload: bytes, schema: Schema, memory: Mapping[str, Any]
    ) -> tuple[dict[str, NDArray[Any]], Memory]:
        """Return the update that bytes stand for; see `Method.decode`."""
        reader = PayloadReader(payload)
        exact, shapes = read_exact(reader, schema), _shapes(schema)
        bitstream = reader.sealed("bitstream of NNCodec")
        if not shapes:
            return join_tensors(schema, exact, np.zeros(0, np.float32)), {}
        try:
            coded = self._process.decode(bitstream, shapes, _base(memory))
        except WorkerError as error:
            reader.refuse("bitstream of NNCodec", expected="one for this model", found=error)
        if not np.isfinite(coded.values).all():
            reader.refuse("bitstream of NNCodec", expected="finite numbers", found="others")
        return join_tensors(schema, exact, coded.values), _remember(coded) if self.tca else {}

    def _settings(self, values: NDArray[np.float32], schema: Schema) -> dict[str, Any]:
        """Return NNCodec's arguments, having seen that no level is beyond int32."""
        qp = _DEFAULT_QP if self.qp is None else self.qp
        if self.relative_step is not None:
            mean_square = float(np.mean(np.square(values.astype(np.float64))))
            qp = nearest_qp(self.relative_step * math.sqrt(mean_square))
        for spec, place in tensor_slices(schema):
            largest = float(np.abs(values[place]).max())
            step = step_of(qp if len(spec.shape) > 1 else self.nonweight_qp)
            if largest > step * _MAX_LEVEL:
                raise LevelRangeError(spec.name, largest, step=step, limit=_MAX_LEVEL)
        names = ("nonweight_qp", "use_dq", "tca", "row_skipping", "param_opt", "lambda_scale")
        return {"qp": qp} | {name: getattr(self, name) for name in names}


def step_of(qp: int) -> float:
    """Return the step that a quantisation parameter stands for, with four steps an octave [2]_.

    Examples
    --------
    >>> step_of(-40) * 1024, step_of(-38) * 1024
    (1.0, 1.5)
    """
    octave, quarter = divmod(qp, 4)
    return math.ldexp(1 + quarter / 4, octave)


def nearest_qp(step: float) -> int:
    """Return the quantisation parameter, in [-128, 64], whose step is nearest in ratio.

    Examples
    --------
    >>> nearest_qp(step_of(-30))
    -30
    """
    return min(range(-128, 65), key=lambda qp: abs(math.log(max(step, 1e-45) / step_of(qp))))


def _find_python(python: str | None) -> str:
    """Return the interpreter that has NNCodec."""
    found = python if python is not None else os.environ.get(PYTHON_VARIABLE)
    expected = (
        "the interpreter of an environment made by pip install nncodec==2.1.3 'numpy<2', here or "
        f"in the variable {PYTHON_VARIABLE}"
    )
    if not isinstance(found, str) or not Path(found).is_file():
        raise SettingsError("python", expected=expected, found=found)
    look = "import importlib.util, sys; sys.exit(importlib.util.find_spec('nncodec') is None)"
    try:
        has_it = subprocess.run([found, "-I", "-c", look], check=False, capture_output=True)
    except OSError as error:
        raise SettingsError("python", expected=expected, found=str(error)) from None
    if has_it.returncode:
        raise SettingsError("python", expected=expected, found=f"{found}, without nncodec")
    return found


def _shapes(schema: Schema) -> list[tuple[int, ...]]:
    return [spec.shape for spec, _ in tensor_slices(schema)]


def _base(memory: Mapping[str, NDArray[Any]]) -> Base | None:
    """Return what contexts build on; None at first."""
    return Base(memory[LEVELS], memory[DEPTHS]) if LEVELS in memory else None


def _remember(coded: Coded) -> Memory:
    return {LEVELS: coded.base.levels, DEPTHS: coded.base.depths}
