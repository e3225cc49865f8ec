"""Receipt: what augmentation did to the scans that a network learned from, counted while it learned.

`receipt.json` of a run folder, replaced after every epoch:

    {"augmentation": {"name", "digest"},
     "seed": seed of the run,
     "epochs": {head: epochs, the one under way included},
     "scans": scans handed to the networks, over all epochs and heads; the partners of mixed ones are not counted,
     "steps": [{"step": {"transform", "p", and its settings}, "applied": scans that it was applied to,
                "drawn": {parameter: {"edges": [n + 1 numbers] or "values": [n numbers], "counts": [n numbers]}}}],
     "examples": [ids of the samples in receipt.png]}

`edges` are the limits of n bins, each with its lower limit and the last with both; `values` are what was drawn
exactly. Counts are of the scans that the step was applied to, so they sum to `applied`; a scan to which a pad by
nothing was applied is as it was. `receipt.png` has the first samples of the first epoch: as they are above, as the
network received them below.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medwb.augment.apply import Drawn
from medwb.augment.recipe import Augmentation, Step, read_step
from medwb.errors import RequestError
from medwb.gallery import contact_sheet
from medwb.images import Pixels, resize
from medwb.params import OneOf, Param, Setting
from medwb.paths import replacing, write_text
from medwb.png import png
from medwb.strict_json import dump_json

if TYPE_CHECKING:
    from medwb.runs import Run

RECEIPT_FILE = "receipt.json"
EXAMPLES_FILE = "receipt.png"
EXAMPLES = 8

_BINS = 20
_GAP = 2  # pixels between examples
_MOST_SIDE = 128  # pixels of an example


@dataclass
class Histogram:
    """How often a parameter was drawn where.

    Attributes:
        places: float64: the limits of the bins, or the values themselves.
        counts: int64 (n,).
        exact: Whether `places` are the values, n of them, and not n + 1 limits.
    """

    places: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    exact: bool

    @classmethod
    def of(cls, param: Param, setting: Setting) -> "Histogram":
        """An empty one for what a parameter may be set to."""
        if isinstance(setting, OneOf):
            places, exact = np.unique(np.asarray(setting.values, np.float64)), True
        elif not isinstance(setting, tuple) or setting[0] == setting[1]:
            places, exact = np.array([setting[0] if isinstance(setting, tuple) else setting], np.float64), True
        elif not param.integer:
            places, exact = np.linspace(*setting, _BINS + 1), False
        else:
            low, high = int(setting[0]), int(setting[1])
            width = -(-(high - low + 1) // _BINS)  # as many whole numbers a bin
            exact = width == 1
            places = np.arange(low, high + 1 if exact else high + 1 + width, width, dtype=np.float64)
        return cls(places, np.zeros(len(places) if exact else len(places) - 1, np.int64), exact)

    def count(self, values: npt.NDArray[np.float64]) -> None:
        """Add values that were drawn, float64 (m,)."""
        inner = self.places[1:] if self.exact else self.places[1:-1]
        where = np.searchsorted(inner, values, side="right")
        self.counts += np.bincount(where, minlength=len(self.counts))

    def describe(self) -> dict[str, list[float]]:
        """As JSON holds it."""
        return {"values" if self.exact else "edges": self.places.tolist(), "counts": self.counts.tolist()}


@dataclass
class StepCount:
    """What one step was applied to.

    Attributes:
        step: The step.
        applied: Scans that it was applied to, whether that changed them or not.
        drawn: A histogram a parameter.
    """

    step: Step
    applied: int = 0
    drawn: dict[str, Histogram] = field(default_factory=dict)

    @classmethod
    def of(cls, step: Step) -> "StepCount":
        """Nothing counted yet."""
        settings = {param: step.settings[param.name] for param in step.entry.params}
        return cls(step, 0, {param.name: Histogram.of(param, setting) for param, setting in settings.items()})  # type: ignore[arg-type]


@dataclass
class Receipt:
    """What augmentation did in a run.

    Attributes:
        name: The recipe's name when the run was made.
        digest: The recipe's.
        seed: The run's.
        epochs: Name of a head to epochs, the one under way included.
        scans: Scans handed to the networks.
        steps: What each active step did.
        examples: Ids of the samples in the picture.
    """

    name: str
    digest: str
    seed: int
    steps: list[StepCount]
    epochs: dict[str, int] = field(default_factory=dict)
    scans: int = 0
    examples: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, augmentation: Augmentation, name: str, seed: int) -> "Receipt":
        """An empty one."""
        return cls(name, augmentation.digest, seed, [StepCount.of(step) for step in augmentation.active])

    def count(self, drawn: Sequence[Drawn], scans: int) -> None:
        """Count what was drawn for the first of some scans: those that a network was handed.

        Args:
            drawn: One an active step, in order.
            scans: How many of them.
        """
        for mine, one in zip(self.steps, drawn, strict=True):
            where = np.flatnonzero(one.applied[:scans])
            for name, histogram in mine.drawn.items():
                histogram.count(one.values[name][where])
            mine.applied += len(where)
        self.scans += scans

    def describe(self) -> dict[str, Any]:
        """The documented JSON."""
        return {
            "augmentation": {"name": self.name, "digest": self.digest},
            "seed": self.seed,
            "epochs": self.epochs,
            "scans": self.scans,
            "steps": [
                {
                    "step": mine.step.describe(),
                    "applied": mine.applied,
                    "drawn": {name: histogram.describe() for name, histogram in mine.drawn.items()},
                }
                for mine in self.steps
            ],
            "examples": self.examples,
        }

    def save(self, folder: Path) -> None:
        """Replace the file in a run's folder, in one step."""
        write_text(folder / RECEIPT_FILE, dump_json(self.describe()) + "\n")


def read_receipt(values: Any) -> Receipt:
    """A receipt from its documented JSON. Raises ValueError, TypeError, KeyError or RequestError where it is none."""
    steps = []
    for one in values["steps"]:
        mine = StepCount.of(read_step(one["step"]))
        mine.applied = _count(one["applied"])
        if set(one["drawn"]) != set(mine.drawn):
            raise ValueError(f"{mine.step.transform} draws {', '.join(mine.drawn) or 'nothing'}")
        for name, histogram in mine.drawn.items():
            _read_histogram(histogram, one["drawn"][name], mine.applied, f"{mine.step.transform}: {name}")
        steps.append(mine)
    about, epochs, examples = values["augmentation"], values["epochs"], values["examples"]
    if not isinstance(epochs, Mapping) or not all(isinstance(name, str) for name in (*examples, *about.values())):
        raise TypeError("names are no text")
    receipt = Receipt(about["name"], about["digest"], _count(values["seed"]), steps)
    receipt.epochs = {str(head): _count(number) for head, number in epochs.items()}
    receipt.scans, receipt.examples = _count(values["scans"]), list(examples)
    if any(mine.applied > receipt.scans for mine in steps):
        raise ValueError("a step was applied to more scans than there were")
    return receipt


def _read_histogram(histogram: Histogram, values: Mapping[str, Any], applied: int, where: str) -> None:
    """Fill an empty histogram with the counts of one in a file. Raises ValueError unless its bins are the same."""
    places = values["values" if histogram.exact else "edges"]
    if list(places) != histogram.places.tolist() or len(values["counts"]) != len(histogram.counts):
        raise ValueError(f"{where} has other bins than its setting")
    histogram.counts[:] = [_count(number) for number in values["counts"]]
    if histogram.counts.sum() != applied:
        raise ValueError(f"{where} sums to {histogram.counts.sum()}, not {applied}")


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise ValueError(f"{str(value)[:40]!r} is no count")
    return value


def open_receipt(run: "Run") -> Receipt | None:
    """What augmentation did to the scans that a run has learned from; None for a run without augmentation.

    Raises:
        RequestError: There is none yet, it is damaged, or it is not that of the run's recipe.
    """
    if not run.augmentation.active:
        return None
    path = run.path / RECEIPT_FILE
    try:
        receipt = read_receipt(json.loads(path.read_text(encoding="utf-8")))
        recipe = Augmentation(tuple(mine.step for mine in receipt.steps))
        if not recipe.digest == receipt.digest == run.augmentation_digest or receipt.seed != run.config.seed:
            raise ValueError("it is for another augmentation or seed")
        return receipt
    except FileNotFoundError:
        raise RequestError(f"run {run.id} has no receipt yet; it is {run.state}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, RequestError) as error:
        raise RequestError(f"run {run.id}: {RECEIPT_FILE} is damaged ({error}); train again") from None


def example_strip(before: Pixels, after: Pixels) -> Pixels:
    """Scans above, and below what became of them; no scan is larger than 128 pixels a side.

    Args:
        before: uint8 (n, H, W, C).
        after: Of the same shape.

    Returns:
        uint8 (height, width, C).
    """
    height, width, channels = before.shape[1:]
    factor = min(1.0, _MOST_SIDE / max(height, width))
    high, wide = max(1, round(height * factor)), max(1, round(width * factor))
    small = np.stack([resize(image, high, wide) for image in (*before, *after)])
    sheet = contact_sheet(small, len(before), gap=_GAP, background=255)
    return sheet.reshape(*sheet.shape[:2], channels)


def save_examples(folder: Path, before: Pixels, after: Pixels) -> None:
    """Write `example_strip` into a run's folder, in one step."""
    with replacing(folder / EXAMPLES_FILE) as temporary:
        temporary.write_bytes(png(example_strip(before, after)))
