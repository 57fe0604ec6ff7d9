# SPDX-License-Identifier: Apache-2.0
"""Every codec by its name and plain values, as they stand in a JSON or TOML file.

`build_codec` and `describe` undo each other: ``build_codec({"name": codec.name,
**codec.describe()})`` is the same codec.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from fl_deepcabac.config import CodecConfig
from fl_deepcabac.experiments.baselines.codec import BaselineCodec
from fl_deepcabac.experiments.baselines.drive import Drive, Eden
from fl_deepcabac.experiments.baselines.floats import BFloat16, Float16, Zstd
from fl_deepcabac.experiments.baselines.kmeans import KMeans
from fl_deepcabac.experiments.baselines.method import Method
from fl_deepcabac.experiments.baselines.nncodec import NnCodec
from fl_deepcabac.experiments.baselines.powersgd import PowerSgd
from fl_deepcabac.experiments.baselines.qsgd import Qsgd
from fl_deepcabac.experiments.baselines.sign import ScaledSign
from fl_deepcabac.experiments.baselines.sparse import SparseTernary, TopK
from fl_deepcabac.experiments.baselines.sz3 import Sz3
from fl_deepcabac.experiments.baselines.uniform import Uniform
from fl_deepcabac.experiments.codecs import DOWNLINK_SETTINGS, DeepCabac, Uncompressed, UpdateCodec
from fl_deepcabac.experiments.settings import SettingsError
from fl_deepcabac.flower import DownlinkConfig

__all__ = ["CODEC_NAMES", "METHODS", "build_codec", "build_method"]

METHODS: Final[Mapping[str, type[Any]]] = {
    method.name: method
    for method in (
        Float16,
        BFloat16,
        Zstd,
        Uniform,
        Qsgd,
        TopK,
        SparseTernary,
        Drive,
        Eden,
        ScaledSign,
        PowerSgd,
        KMeans,
        Sz3,
        NnCodec,
    )
}
CODEC_NAMES: Final = (Uncompressed.name, DeepCabac.name, *METHODS)

_DOWNLINK: Final = "downlink"
_DOWNLINK_PREFIX: Final = "downlink_"
_IMPORTANCE: Final = "importance"


def build_codec(spec: Mapping[str, Any]) -> UpdateCodec:
    """Return the codec that plain values describe.

    Parameters
    ----------
    spec : mapping of str to JSON value
        ``name``, one of `CODEC_NAMES`, and any of its parameters: those of `CodecConfig` for
        ``"deepcabac"``, those of the method's class for the others, none for ``"none"``.
        ``"deepcabac"`` also takes ``downlink``: true, or a mapping of the parameters of
        `DownlinkConfig`, which may as well be given one by one behind ``downlink_``; and
        ``importance`` as in `DeepCabac`.

    Returns
    -------
    UpdateCodec

    Raises
    ------
    SettingsError
        If the name or a parameter is unknown (the message lists those known), or out of range.
    ConfigError
        If a parameter of ``"deepcabac"`` is out of range.

    Examples
    --------
    >>> build_codec({"name": "stc", "density": 0.01}).describe()
    {'error_feedback': True, 'density': 0.01, 'scope': 'update'}
    """
    settings = dict(spec)
    name = settings.pop("name", None)
    if name == DeepCabac.name:
        return _build_deepcabac(settings)
    if name == Uncompressed.name:
        _require_known(settings, ())
        return Uncompressed()
    if not isinstance(name, str) or name not in METHODS:
        raise SettingsError("name", expected=f"one of {', '.join(CODEC_NAMES)}", found=name)
    return BaselineCodec(build_method(name, settings))


def build_method(name: str, settings: Mapping[str, Any]) -> Method:
    """Return the method of a name, one of `METHODS`; raises as `build_codec` does."""
    method = METHODS[name]
    _require_known(settings, [field.name for field in fields(method) if field.init])
    built: Method = method(**settings)
    return built


def _build_deepcabac(settings: dict[str, Any]) -> DeepCabac:
    """Return our own codec."""
    ours = [field.name for field in fields(CodecConfig)]
    downlink = settings.pop(_DOWNLINK, None)
    importance = settings.pop(_IMPORTANCE, None)
    if downlink is True:
        downlink = {}
    if not (downlink is None or downlink is False or isinstance(downlink, Mapping)):
        raise SettingsError(_DOWNLINK, expected="a bool or a table", found=downlink)
    prefixed = [key for key in settings if key.startswith(_DOWNLINK_PREFIX)]
    given = dict(downlink or {}) | {
        key.removeprefix(_DOWNLINK_PREFIX): settings.pop(key) for key in prefixed
    }
    more = [_DOWNLINK, *(_DOWNLINK_PREFIX + each for each in DOWNLINK_SETTINGS), _IMPORTANCE]
    _require_known(settings, [*ours, *more])
    _require_known(given, DOWNLINK_SETTINGS)
    is_wanted = isinstance(downlink, Mapping) or bool(prefixed)
    return DeepCabac(
        CodecConfig(**settings), DownlinkConfig(**given) if is_wanted else None, importance
    )


def _require_known(settings: Mapping[str, Any], known: list[str] | tuple[str, ...]) -> None:
    """Refuse a parameter that is not among those known."""
    for name in settings:
        if name not in known:
            expected = f"one of {', '.join(known)}" if known else "no parameters"
            raise SettingsError(str(name), expected=expected, found=name)
