"""Adjustable numbers and choices: drawn as sliders in the dashboard and in notebooks, checked everywhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeGuard

from medwb.errors import RequestError, short, unknown_name


@dataclass(frozen=True)
class OneOf:
    """Numbers of which one is drawn, each as often as the others."""

    values: tuple[float, ...]


@dataclass(frozen=True)
class Deal(OneOf):
    """The same, but dealt like cards: steps of one transform that deal from the same values get different ones."""


Setting: TypeAlias = float | tuple[float, float] | OneOf
"""What a Param is set to: a number or, where it may be drawn, two ends or some values."""


@dataclass(frozen=True)
class Param:
    """An adjustable number.

    Attributes:
        name: The keyword argument that it sets.
        low: Smallest allowed value.
        high: Largest allowed value.
        default: Value when nothing is said.
        step: Distance between neighbouring slider positions; a whole number makes the parameter an integer.
        help: One sentence for the tooltip, with the unit.
        unit: What a value is counted in, such as "°"; "" for a plain number.
        until: Where it is given, the number may be drawn anew each time, by default evenly between `default` and
            this.
    """

    name: str
    low: float
    high: float
    default: float
    step: float
    help: str
    unit: str = ""
    until: float | None = None

    @property
    def integer(self) -> bool:
        """Whether only whole numbers are allowed."""
        return float(self.step).is_integer() and float(self.low).is_integer()

    @property
    def usual(self) -> Setting:
        """What it is set to when nothing is said."""
        return self.default if self.until is None else (self.default, self.until)

    def check(self, value: float) -> float:
        """Return the value, as int where the parameter is one. Raises RequestError when it is out of range."""
        if not self.low <= value <= self.high:
            unit = f" {self.unit}" if self.unit else ""
            raise RequestError(
                f"{self.name}={value:g} is out of range; it goes from {self.low:g} to {self.high:g}{unit}"
            )
        if not self.integer:
            return float(value)
        if not float(value).is_integer():
            raise RequestError(f"{self.name}={value:g} is not a whole number")
        return int(value)

    def read(self, value: object) -> Setting:
        """What a file or a page says.

        A number, and where it may be drawn [low, high], {"one_of": [...]} or {"deal": [...]}.

        Raises:
            RequestError: It is none of these, out of range or upside down.
        """
        if isinstance(value, OneOf):
            value = plain(value)
        if self.until is None or _is_number(value):
            return self.check(self._number(value))
        if isinstance(value, Mapping) and len(value) == 1 and set(value) <= set(_SOME):
            ((way, some),) = value.items()
            if _is_list(some):
                if not some:
                    raise RequestError(f"{self.name}: {way} names no value; list at least one")
                return _SOME[way](tuple(self.check(self._number(one)) for one in some))
        if not _is_list(value) or len(value) != 2:
            raise RequestError(
                f"{self.name}={short(value)} is no setting; write a number, [low, high] or {{one_of: [...]}}"
            )
        low, high = (self.check(self._number(end)) for end in value)
        if low > high:
            raise RequestError(f"{self.name}=[{low:g}, {high:g}] is upside down; write [{high:g}, {low:g}]")
        return low, high

    def _number(self, value: object) -> float:
        if not _is_number(value):
            raise RequestError(f"{self.name}={short(value)} is not a number")
        try:
            float(value)
        except OverflowError:
            raise RequestError(f"{self.name}={short(value)} is larger than any number it may be") from None
        return value


@dataclass(frozen=True)
class Choice:
    """One of a few named ways.

    Attributes:
        name: The keyword argument that it sets.
        options: The names allowed; the first is the default.
        help: One sentence for the tooltip.
    """

    name: str
    options: tuple[str, ...]
    help: str

    def read(self, value: object) -> str:
        """Return the name. Raises RequestError when it is not among the options."""
        if value not in self.options:
            raise unknown_name(self.name, value if isinstance(value, str) else short(value), self.options)
        return str(value)


_SOME: Mapping[str, type[OneOf]] = {"one_of": OneOf, "deal": Deal}


def ends(setting: Setting) -> tuple[float, float]:
    """The smallest and the largest value that a setting allows."""
    if isinstance(setting, OneOf):
        return min(setting.values), max(setting.values)
    return setting if isinstance(setting, tuple) else (setting, setting)


def plain(setting: Setting | str) -> object:
    """A setting as JSON and YAML hold it; `Param.read` understands it."""
    if isinstance(setting, OneOf):
        return {next(way for way, kind in _SOME.items() if type(setting) is kind): list(setting.values)}
    return list(setting) if isinstance(setting, tuple) else setting


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
