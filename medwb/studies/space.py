"""The space that a search looks through: which settings, and between what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from medwb.architectures import ARCHITECTURES
from medwb.config import RunConfig
from medwb.dataset import Dataset
from medwb.errors import RequestError, short, unknown_name
from medwb.strict_yaml import load_yaml

if TYPE_CHECKING:
    import optuna

_FIXED = ("dataset", "architecture", "seed")
_RANGE_KEYS = ("low", "high", "log", "step", "when")
_CHOICE_KEYS = ("values", "when")
_DIGITS = 3


@dataclass(frozen=True)
class Dimension:
    """One setting that a search varies: some values, or all between two ends.

    Attributes:
        name: A field of `RunConfig`.
        values: The values, if it is a choice.
        low: The smallest value of a range.
        high: The largest.
        log: Whether a range is even in the logarithm.
        step: Distance between neighbouring values of a range; 0 for none.
        when: Settings and the values of them that it needs, such as {"optimizer": ("adamw",)}.
    """

    name: str
    values: tuple[Any, ...] = ()
    low: float = 0
    high: float = 0
    log: bool = False
    step: float = 0
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def applies(self, settings: Mapping[str, Any]) -> bool:
        """Whether settings have what it needs."""
        return all(settings.get(name) in values for name, values in self.when.items())

    def holds(self, value: Any) -> bool:
        """Whether a value lies in it."""
        if self.values:
            return value in self.values
        if not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        steps = (value - self.low) / self.step if self.step else 0.0
        return abs(steps - round(steps)) < 1e-6

    def suggest(self, trial: "optuna.trial.Trial") -> Any:
        """The value of a trial; numbers have three digits, so that they can be read and written."""
        if self.values:
            return trial.suggest_categorical(self.name, self.values)
        if isinstance(self.low, int):
            return trial.suggest_int(self.name, self.low, int(self.high), log=self.log, step=int(self.step) or 1)
        value = trial.suggest_float(self.name, self.low, self.high, log=self.log, step=self.step or None)
        return min(max(float(f"{value:.{_DIGITS}g}"), self.low), self.high)

    def describe(self) -> dict[str, Any]:
        """It as a space file holds it."""
        when = {"when": {name: list(values) for name, values in self.when.items()}} if self.when else {}
        if self.values:
            return {"values": list(self.values), **when}
        return {"low": self.low, "high": self.high, "log": self.log, "step": self.step, **when}


Space = tuple[Dimension, ...]


def suggest(space: Space, trial: "optuna.trial.Trial", usual: Mapping[str, Any]) -> dict[str, Any]:
    """What a trial sets. `usual` is what settings are that it does not set."""
    values: dict[str, Any] = {}
    for dimension in space:
        if dimension.applies({**usual, **values}):
            values[dimension.name] = dimension.suggest(trial)
    return values


def without(space: Space, settings: Mapping[str, Any]) -> Space:
    """The space without settings that are given, and without what these rule out."""
    left = [dimension for dimension in space if dimension.name not in settings]
    return tuple(
        dimension
        for dimension in left
        if all(settings[name] in values for name, values in dimension.when.items() if name in settings)
    )


def default_space(dataset: Dataset) -> Space:
    """What a search looks through when nothing is said: how the network learns, and ready augmentations that suit."""
    from medwb.augment import NONE, PRESETS

    recipes = [NONE]
    for name, recipe in PRESETS.items():
        try:
            recipe.check(dataset.image_shape, name)
        except RequestError:
            continue
        recipes.append(name)
    return (
        Dimension("learning_rate", low=1e-4, high=1e-2, log=True),
        Dimension("batch_size", (32, 16, 64, 128)),
        Dimension("optimizer", ("adam", "adamw", "sgd")),
        Dimension("weight_decay", low=1e-3, high=0.3, log=True, when={"optimizer": ("adamw",)}),
        Dimension("momentum", (0.0, 0.9), when={"optimizer": ("sgd",)}),
        Dimension("schedule", ("constant", "linear", "cosine")),
        Dimension("warmup", low=0.0, high=0.3, step=0.1),
        Dimension("label_smoothing", low=0.0, high=0.2, step=0.05),
        Dimension("augmentation", tuple(recipes)),
    )


def read_space(file: Path) -> Space:
    """Read a space from a YAML file: a setting a line, to a list of values or to {low, high, log, step, when}.

        learning_rate: {low: 0.0001, high: 0.01, log: true}
        optimizer: [adam, adamw]
        weight_decay: {low: 0.001, high: 0.1, log: true, when: {optimizer: adamw}}

    Raises:
        RequestError: It cannot be read, names what is no setting, or a value that the setting cannot have.
    """
    try:
        loaded = load_yaml(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RequestError(f"{file} is no readable YAML file: {' '.join(str(error).split())}") from error
    if not isinstance(loaded, Mapping) or not loaded:
        raise RequestError(f"{file} holds no space; write one setting: [values] or {{low: …, high: …}} a line")
    space: list[Dimension] = []
    for name, entry in loaded.items():
        space.append(_dimension(str(name), entry, space, f"{file}: {name}"))
    return tuple(space)


def _dimension(name: str, entry: Any, before: Sequence[Dimension], where: str) -> Dimension:
    if name in _FIXED:
        raise RequestError(f"{where} cannot be searched; it is named on the command line")
    if name not in RunConfig.model_fields:
        raise RequestError(f"{where}: {unknown_name('setting', name, RunConfig.model_fields)}")
    if isinstance(entry, list):
        entry = {"values": entry}
    if not isinstance(entry, Mapping):
        raise RequestError(f"{where}={short(entry)} is no list of values and no {{low: …, high: …}}")
    known = _CHOICE_KEYS if "values" in entry else _RANGE_KEYS
    for key in entry:
        if key not in known:
            raise RequestError(f"{where}: {unknown_name('key', str(key), known)}")
    when = _when(entry.get("when", {}), before, where)
    if "values" in entry:
        values = entry["values"]
        if not isinstance(values, list) or not values:
            raise RequestError(f"{where}: values={short(values)} is no list of values")
        return Dimension(name, tuple(_checked(name, value, where) for value in values), when=when)
    for key in ("low", "high"):
        if key not in entry:
            raise RequestError(f"{where} has no {key}; a range has low and high")
    low, high = (_checked(name, entry[key], where) for key in ("low", "high"))
    if any(isinstance(end, bool) or not isinstance(end, int | float) for end in (low, high)):
        raise RequestError(f"{where} is no number, so it has no range; list its values")
    log, step = entry.get("log", False), entry.get("step", 0)
    if not isinstance(log, bool):
        raise RequestError(f"{where}: log={short(log)} is neither true nor false")
    if isinstance(step, bool) or not isinstance(step, int | float) or step < 0:
        raise RequestError(f"{where}: step={short(step)} is no distance between two values")
    if isinstance(low, int) and step != int(step):
        raise RequestError(f"{where}: step={step:g} is no whole number, but the setting is")
    if not low < high:
        raise RequestError(f"{where}: low={low:g} is not below high={high:g}")
    if log and (low <= 0 or step):
        raise RequestError(f"{where}: log needs a low above 0, and no step")
    return Dimension(name, low=low, high=high, log=log, step=step, when=when)


def _when(entry: Any, before: Sequence[Dimension], where: str) -> dict[str, tuple[Any, ...]]:
    if not isinstance(entry, Mapping):
        raise RequestError(f"{where}: when={short(entry)} is no setting: value")
    choices = {dimension.name: dimension.values for dimension in before if dimension.values}
    needed = {}
    for name, value in entry.items():
        if name not in choices:
            raise RequestError(f"{where}: when names {short(name)}, which is no choice that stands before it")
        values = value if isinstance(value, list) else [value]
        for one in values:
            if one not in choices[name]:
                raise RequestError(f"{where}: when {name}={short(one)} never comes; it is one of {choices[name]}")
        needed[str(name)] = tuple(values)
    return needed


def _checked(name: str, value: Any, where: str) -> Any:
    """The value as `RunConfig` holds it."""
    some = next(iter(ARCHITECTURES)).name
    try:
        config = RunConfig.model_validate({"dataset": "any", "architecture": some, name: value})
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        raise RequestError(f"{where}: {name}={short(value)}: {message[0].lower()}{message[1:]}") from None
    return getattr(config, name)
