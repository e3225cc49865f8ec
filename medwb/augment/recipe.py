"""Augmentation: an ordered list of transforms with their settings, checked, hashed and written as YAML."""

import base64
import binascii
import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

from medwb.augment.transform import TRANSFORMS, Transform
from medwb.errors import RequestError, short, unknown_name
from medwb.params import Param, Setting, plain
from medwb.strict_yaml import load_yaml

PROBABILITY = Param("p", 0, 1, 0.5, 0.05, "Share of the scans, drawn anew each epoch, that the step changes.")

MAX_STEPS = 40
MAX_LENGTH = 100_000
"""Characters of a recipe, as YAML or JSON."""

_STEP_KEYS = ("transform", "p", "enabled")


@dataclass(frozen=True)
class Step:
    """One transform of an augmentation, set.

    Attributes:
        transform: Name of a registered transform.
        settings: A setting a parameter, a text a choice; what is left out has its default.
        p: Probability that a scan is changed, 0..1.
        enabled: Whether the step counts at all.
    """

    transform: str
    settings: Mapping[str, Setting | str] = field(default_factory=dict)
    p: float = PROBABILITY.default
    enabled: bool = True

    def __post_init__(self) -> None:
        """Check what was given and fill in the defaults. Raises RequestError."""
        entry = self.entry
        known = {param.name: param for param in entry.params} | {choice.name: choice for choice in entry.choices}
        for key in self.settings:
            if key not in known:
                raise unknown_name(f"setting of {entry.name}", key, [*known, *_STEP_KEYS])
        usual: dict[str, object] = {param.name: param.usual for param in entry.params}
        usual |= {choice.name: choice.options[0] for choice in entry.choices}
        values = {key: known[key].read(self.settings.get(key, value)) for key, value in usual.items()}
        object.__setattr__(self, "settings", MappingProxyType(values))  # presets are shared
        object.__setattr__(self, "p", float(PROBABILITY.read(self.p)))  # type: ignore[arg-type]

    @property
    def entry(self) -> Transform:
        """The registered transform."""
        return TRANSFORMS.get(self.transform)

    def describe(self) -> dict[str, Any]:
        """As JSON and YAML hold it; `read_step` understands it."""
        facts: dict[str, Any] = {"transform": self.transform, "p": self.p}
        facts |= {key: plain(value) for key, value in self.settings.items()}
        return facts if self.enabled else facts | {"enabled": False}


def read_step(values: object) -> Step:
    """A step from what a file says. Raises RequestError."""
    if not isinstance(values, Mapping) or not isinstance(values.get("transform"), str):
        raise RequestError("a step is written as 'transform: NAME' and its settings, a line each")
    enabled = values.get("enabled", True)
    if not isinstance(enabled, bool):
        raise RequestError(f"enabled={short(enabled)} is neither true nor false")
    settings = {str(key): value for key, value in values.items() if key not in _STEP_KEYS}
    return Step(values["transform"], settings, values.get("p", PROBABILITY.default), enabled)


@dataclass(frozen=True)
class Augmentation:
    """An ordered list of transforms.

    Attributes:
        steps: Applied one after the other.
        about: What it is meant for and why, in a sentence or two.
    """

    steps: tuple[Step, ...] = ()
    about: str = ""

    def __post_init__(self) -> None:
        """Raises RequestError for too many steps, or a mixing step that is not among the last."""
        object.__setattr__(self, "steps", tuple(self.steps))
        if len(self.steps) > MAX_STEPS:
            raise RequestError(f"an augmentation of {len(self.steps)} steps is too long; at most {MAX_STEPS}")
        mixing = [step.entry.family == "mix" for step in self.steps]
        if mixing != sorted(mixing):
            last = self.steps[mixing.index(True)].transform
            raise RequestError(f"{last} stands before other steps; it mixes finished scans, so move it to the end")

    @property
    def active(self) -> tuple[Step, ...]:
        """The steps that count."""
        return tuple(step for step in self.steps if step.enabled)

    @cached_property
    def digest(self) -> str:
        """Hash of the steps that count, 12 hexadecimal digits; "" when none does."""
        if not self.active:
            return ""
        facts, seen = [], dict[str, int]()
        for step in self.steps:
            seen[step.transform] = number = seen.get(step.transform, 0) + 1
            if step.enabled:  # the second of its kind draws other numbers than the first, which may be off
                facts.append(step.describe() | ({"number": number} if number > 1 else {}))
        text = json.dumps(facts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def check(self, shape: tuple[int, int, int], name: str = "the augmentation") -> None:
        """Raise RequestError when it cannot be applied to scans of this (height, width, channels)."""
        for number, step in enumerate(self.steps, 1):
            if step.enabled and step.entry.colour and shape[2] != 3:
                raise RequestError(
                    f"{name}: step {number} ({step.transform}) changes colours, and the scans are grey; "
                    "switch it off, or train with channels=3"
                )

    def with_step(self, number: int, step: Step) -> "Augmentation":
        """The same with another step in place of number `number` (from 0)."""
        return replace(self, steps=(*self.steps[:number], step, *self.steps[number + 1 :]))

    def inserted(self, step: Step, number: int | None = None) -> "Augmentation":
        """The same with one step more: as number `number`, or as the last before what mixes scans."""
        if number is None:
            mixing = [one.entry.family == "mix" for one in self.steps]
            number = len(mixing) if step.entry.family == "mix" else mixing.count(False)
        return replace(self, steps=(*self.steps[:number], step, *self.steps[number:]))

    def duplicated(self, number: int) -> "Augmentation":
        """The same with a step twice."""
        return self.inserted(self.steps[number], number + 1)

    def without(self, number: int) -> "Augmentation":
        """The same without a step."""
        return replace(self, steps=self.steps[:number] + self.steps[number + 1 :])

    def moved(self, number: int, by: int) -> "Augmentation":
        """The same with a step that many places further on; at the ends it stays.

        Raises:
            RequestError: A step that mixes scans would stand before one that does not.
        """
        steps = list(self.steps)
        steps.insert(max(0, min(len(steps) - 1, number + by)), steps.pop(number))
        return replace(self, steps=tuple(steps))

    def describe(self) -> dict[str, Any]:
        """As JSON and YAML hold it; `read_augmentation` understands it."""
        about = {"about": self.about} if self.about else {}
        return about | {"steps": [step.describe() for step in self.steps]}

    def to_yaml(self) -> str:
        """As a file holds it."""
        import yaml

        text: str = yaml.safe_dump(
            self.describe(), sort_keys=False, allow_unicode=True, width=100, default_flow_style=None
        )
        return text

    def to_token(self) -> str:
        """In letters that a URL can carry; `from_token` understands them."""
        text = json.dumps(self.describe(), separators=(",", ":"))
        return base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode().rstrip("=")


def read_augmentation(values: object, where: str) -> Augmentation:
    """An augmentation from what a file says.

    Args:
        values: A mapping with `steps` and perhaps `about`.
        where: What it stands in, for the message.

    Raises:
        RequestError: An unknown key, transform or setting, a value out of range; the place is named.
    """
    if not isinstance(values, Mapping) or not isinstance(values.get("steps"), list | tuple):
        raise RequestError(f"{where} holds no augmentation; write 'steps:' and below it '- transform: NAME'")
    for key in values:
        if key not in ("steps", "about"):
            raise RequestError(f"{where}: {unknown_name('key', str(key), ('steps', 'about'))}")
    about = values.get("about", "")
    if not isinstance(about, str):
        raise RequestError(f"{where}: about={short(about)} is no text")
    steps = []
    for number, step in enumerate(values["steps"], 1):
        try:
            steps.append(read_step(step))
        except RequestError as error:
            named = step.get("transform") if isinstance(step, Mapping) else None
            name = f" ({named[:40]})" if isinstance(named, str) else ""
            raise RequestError(f"{where}: step {number}{name}: {error}") from None
    try:
        return Augmentation(tuple(steps), about)
    except RequestError as error:
        raise RequestError(f"{where}: {error}") from None


def parse_yaml(text: str, where: str) -> Augmentation:
    """An augmentation from YAML text. Raises RequestError, as `read_augmentation`, and for what is no YAML."""
    if len(text) > MAX_LENGTH:
        raise RequestError(f"{where} has {len(text):,} characters; a recipe has at most {MAX_LENGTH:,}")
    try:
        values = load_yaml(text)
    except ValueError as error:
        raise RequestError(f"{where} is no readable YAML: {error}") from None
    return read_augmentation(values, where)


def from_token(token: str) -> Augmentation:
    """What `Augmentation.to_token` wrote. Raises RequestError."""
    try:
        packed = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        unpacking = zlib.decompressobj()
        text = unpacking.decompress(packed, MAX_LENGTH)
        if not unpacking.eof:
            raise ValueError("too long, or cut off")
        values = json.loads(text)
    except (ValueError, RecursionError, binascii.Error, zlib.error) as error:
        raise RequestError(f"the recipe in the address cannot be read ({error}); it was cut or changed") from None
    return read_augmentation(values, "the recipe in the address")
