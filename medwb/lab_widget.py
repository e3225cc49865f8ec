"""The augmentation lab for notebooks: the sliders and pictures of the dashboard's. Imported by notebooks only."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anywidget
import ipywidgets as ipw
import numpy as np
import traitlets

from medwb.augment import TRANSFORMS, Augmentation, Step, open_augmentation
from medwb.augment.apply import FIRST_EPOCH
from medwb.augment.panel import LAB_JS, changed, controls, frame, spans_of, summary
from medwb.augment.preview import Scans, learned, preview, remaining, telling
from medwb.dataset import Dataset
from medwb.errors import RequestError

if TYPE_CHECKING:
    from medwb.audit.cleaning import Cleaning
    from medwb.augment.preservation import Preservation


class _Moving(anywidget.AnyWidget):  # type: ignore[misc]
    """Sliders and a grid; a frame goes out, requests come back."""

    _esm = LAB_JS
    frame = traitlets.Bytes(b"").tag(sync=True)
    request = traitlets.Dict().tag(sync=True)


class AugmentationLab(ipw.VBox):  # type: ignore[misc]
    """Put transforms together and see at once what they do to a few scans; a cell shows it by ending with it.

    Attributes:
        augmentation: The recipe at hand; `save_augmentation` saves it, a run takes it by its name.
    """

    def __init__(
        self,
        dataset: Dataset,
        augmentation: Augmentation | str = "study",
        *,
        ids: Sequence[str] | None = None,
        rows: int = 4,
        draws: int = 4,
        seed: int = 0,
        epoch: int = FIRST_EPOCH,
        cleaning: "Cleaning | None" = None,
        shape: tuple[int, int, int] | None = None,
        tested: "Preservation | None" = None,
    ) -> None:
        """Show scans of a dataset under a recipe.

        Args:
            dataset: Where the scans come from.
            augmentation: A recipe, or the name of a ready or saved one.
            ids: Which scans; some of the train split when not given.
            rows: How many scans, when `ids` are not given.
            draws: Epochs side by side.
            seed: Seed of the run that would train.
            epoch: The first epoch shown.
            cleaning: What the run learns under (`medwb.audit.cleaning.open_cleaning`).
            shape: (height, width, channels) that the network sees; the dataset's own when not given.
            tested: What `open_preservation` says of a run: where it recognises a label less well, tracks are red.

        Raises:
            RequestError: An id or a recipe that does not exist, or one that does not suit the scans; a cleaning of
                other data.
        """
        self.augmentation = open_augmentation(augmentation) if isinstance(augmentation, str) else augmentation
        self._shape = shape or dataset.image_shape
        self.augmentation.check(self._shape)
        self._draws, self._serial, self._listing, self._tested = draws, 0, False, tested
        candidates = np.flatnonzero(learned(dataset, cleaning))
        shuffled = np.random.default_rng(seed).permutation(candidates).astype(np.int64)
        chosen = np.array(_places(dataset, ids), np.int64) if ids else telling(dataset, shuffled, rows)
        self._scans = Scans.of(dataset, chosen, cleaning=cleaning, shape=shape)
        self._many = Scans.spread(dataset, cleaning=cleaning, shape=shape)
        self._steps = ipw.Select(description="Step", rows=6, layout=ipw.Layout(width="420px"))
        self._seed = ipw.BoundedIntText(value=seed, min=0, max=2**31 - 1, description="Seed")
        self._epoch = ipw.BoundedIntText(value=epoch, min=FIRST_EPOCH, max=9999, description="Epoch")
        self._more = ipw.Dropdown(options=[("add a transform", None), *((e.title, e.name) for e in TRANSFORMS)])
        self._message, self._moving = ipw.Label(), _Moving()
        buttons = [
            self._button("up", lambda: self._move(-1)),
            self._button("down", lambda: self._move(1)),
            self._button("on/off", self._switch),
            self._button("duplicate", self._duplicate),
            self._button("reset", self._reset),
            self._button("remove", self._remove),
        ]
        self._list()
        self._steps.observe(self._show, names="index")
        self._seed.observe(self._settled, names="value")
        self._epoch.observe(self._show, names="value")
        self._more.observe(self._add, names="value")
        self._moving.observe(self._take, names="request")
        draws_box = ipw.VBox([self._seed, self._epoch, self._more])
        top = ipw.HBox([ipw.VBox([self._steps, ipw.HBox(buttons)]), draws_box])
        super().__init__([top, self._message, self._moving])
        self._settled()

    @property
    def _number(self) -> int:
        return int(self._steps.index or 0)

    def _button(self, text: str, action: Callable[[], None]) -> ipw.Button:
        button = ipw.Button(description=text, layout=ipw.Layout(width="auto"))

        def press(_: Any) -> None:
            if self.augmentation.steps:
                self._try(action)

        button.on_click(press)
        return button

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except RequestError as error:
            self._message.value = str(error)
        else:
            self._list()
            self._settled()

    def _put(self, augmentation: Augmentation) -> None:
        augmentation.check(self._shape)
        self.augmentation = augmentation

    def _list(self) -> None:
        """Write the steps anew, the same one picked."""
        here, steps = self._number, self.augmentation.steps
        texts = [
            f"{n}. {one.entry.title}: {summary(one) if one.enabled else 'off'}" for n, one in enumerate(steps, 1)
        ]
        self._listing = True  # the list picks its first line when it gets others
        try:
            self._steps.options = texts
            self._steps.index = min(here, len(texts) - 1) if texts else None
        finally:
            self._listing = False

    def _pick(self, number: int) -> None:
        self._list()
        self._steps.index = number

    def _add(self, change: Any) -> None:
        if change["new"] is None:
            return
        name, self._more.value = change["new"], None
        self._try(lambda: self._insert(Step(name)))

    def _insert(self, step: Step) -> None:
        longer = self.augmentation.inserted(step)
        self._put(longer)
        self._pick(next(place for place, one in enumerate(longer.steps) if one is step))

    def _move(self, by: int) -> None:
        here, last = self._number, len(self.augmentation.steps) - 1
        self._put(self.augmentation.moved(here, by))
        self._pick(min(max(here + by, 0), last))

    def _duplicate(self) -> None:
        here = self._number
        self._put(self.augmentation.duplicated(here))
        self._pick(here + 1)

    def _switch(self) -> None:
        step = self.augmentation.steps[self._number]
        self._put(self.augmentation.with_step(self._number, replace(step, enabled=not step.enabled)))

    def _reset(self) -> None:
        step = self.augmentation.steps[self._number]
        self._put(self.augmentation.with_step(self._number, Step(step.transform, enabled=step.enabled)))

    def _remove(self) -> None:
        self._put(self.augmentation.without(self._number))

    @property
    def _panel(self) -> str:
        steps = self.augmentation.steps
        return f"{self._number} {steps[self._number].transform}" if steps else ""

    def _take(self, change: Any) -> None:
        """Take what a slider sends."""
        request = change["new"]
        if request.get("panel") != self._panel:
            return
        self._serial, note, here = request["serial"], "", self._number
        try:
            step = changed(self.augmentation.steps[here], request["values"])
            self._put(self.augmentation.with_step(here, step))
        except RequestError as error:
            note = str(error)
        if request["settled"]:
            self._list()
            self._settled(note=note)
        else:
            self._show(note=note)

    def _settled(self, *_: Any, note: str = "") -> None:
        self._message.value = remaining(self._many, self.augmentation, self._seed.value).warning
        self._show(note=note)

    def _show(self, *_: Any, note: str = "") -> None:
        if self._listing:
            return
        steps = self.augmentation.steps
        step = steps[self._number] if steps else None
        self._moving.frame = frame(
            preview(self._scans, self.augmentation, self._seed.value, self._epoch.value, self._draws),
            serial=self._serial,
            panel=self._panel,
            title=f"{step.entry.title}: {step.entry.summary}" if step else "",
            controls=controls(step, spans_of(self._tested, step) if self._tested else None) if step else (),
            note=note,
        )


def _places(dataset: Dataset, ids: Sequence[str]) -> list[int]:
    """Positions of samples. Raises RequestError for an id that is not there."""
    place = {sample: position for position, sample in enumerate(dataset.samples["id"])}
    for one in ids:
        if one not in place:
            raise RequestError(f"{dataset.name} has no sample {one!r}; `dataset.samples` lists their ids")
    return [place[one] for one in ids]
