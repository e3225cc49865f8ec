"""Saliency maps of a run's scans: asked for, kept in the run's folder, judged and drawn, without TensorFlow."""

import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.config import input_shape
from medwb.dataset import Dataset, open_dataset
from medwb.errors import RequestError, unknown_name
from medwb.images import Pixels, to_shape
from medwb.inspection import ask_child, check_inspectable, has_weights, head_of, network_digest
from medwb.paths import replacing
from medwb.progress import Progress, no_progress
from medwb.runs import Run
from medwb.saliency_methods import SALIENCY_METHODS, STAGES, Floats
from medwb.statistics import DRAWS, Score, interval

MOST_BYTES = 32_000_000
"""Of maps that are kept a method and label; the oldest go first."""

_LEAST_KEPT = 16
_PASS = 0.5
_ORANGE, _BLUE = np.array([230, 97, 1]), np.array([38, 97, 201])


@dataclass(frozen=True)
class Saliency:
    """Maps of one method and label.

    Attributes:
        method: Name of the method.
        label: What is explained.
        ids: str (N,).
        maps: float32 (N, H, W) in log odds, at the size that the network sees; `SaliencyMethod.signed` says what
            a sign means.
        correlations: float32 (N, stages) in -1..1: rank correlation with the same map of the network with
            re-initialised layers, a column a stage of `STAGES`; NaN where that is undefined or was not computed.
        gaps: float32 (N,): by how much the map's sum misses what it should be, in log odds; NaN where a method makes
            no such promise.
    """

    method: str
    label: str
    ids: npt.NDArray[np.str_]
    maps: Floats
    correlations: Floats
    gaps: Floats

    @classmethod
    def empty(cls, method: str, label: str, shape: tuple[int, ...] = (0, 0)) -> "Saliency":
        """No maps, of scans of (height, width)."""
        none = np.zeros(0, np.float32)
        maps = np.zeros((0, *shape[:2]), np.float32)
        return cls(method, label, np.zeros(0, np.str_), maps, np.zeros((0, len(STAGES)), np.float32), none)

    def take(self, ids: Sequence[str]) -> "Saliency":
        """Those of `ids` that are here, in that order."""
        place = {name: number for number, name in enumerate(self.ids)}
        chosen = np.array([place[name] for name in ids if name in place], np.int64)
        parts = (self.ids[chosen], self.maps[chosen], self.correlations[chosen], self.gaps[chosen])
        return Saliency(self.method, self.label, *parts)

    def correlation(self, stage: int = -1) -> Score:
        """Mean rank correlation over scans of one stage, with a bootstrap interval over scans; NaN ends for one."""
        known = self.correlations[:, stage]
        known = known[~np.isnan(known)].astype(np.float64)
        if not len(known):
            return Score(np.nan, np.nan, np.nan)
        if len(known) == 1:
            return Score(float(known[0]), np.nan, np.nan)
        drawn = np.random.default_rng(0).integers(len(known), size=(DRAWS, len(known)))
        return interval(float(known.mean()), known[drawn].mean(axis=1))

    def sentence(self) -> str:
        """What the model-randomisation check says of the maps. Adebayo et al. 2018, arXiv:1810.03292."""
        title, found = SALIENCY_METHODS.get(self.method).title, self.correlation()
        if len(self.maps) and not np.ptp(self.maps, axis=(1, 2)).any():
            return f"{title}: the maps are even; nothing in these scans speaks for the label."
        if np.isnan(found.value):
            return f"{title}: whether the maps rest on what was learned could not be checked."
        text = f"rank correlation with maps of the network without what it learned: {found.value:.2f}"
        if np.isnan(found.low):
            return f"{title}: {text}, on one scan, which says little."
        text += f" [{found.low:.2f}, {found.high:.2f}]"
        if found.high < _PASS:
            return f"{title}: the maps rest on what was learned ({text})."
        if found.low >= _PASS:
            return f"{title}: the maps show mostly what any such network would, learned or not ({text})."
        return f"{title}: how far the maps rest on what was learned is open ({text}); ask for more scans."


def methods_for(run: Run) -> dict[str, str]:
    """Name of each method to why it cannot be used on a run; "" where it can, as far as can be told without Keras."""
    from medwb.architectures import ARCHITECTURES

    reasons = {}
    layers = ARCHITECTURES.get(run.config.architecture).layers
    data_shape = tuple(run.record["dataset"].get("image_shape") or (64, 64, 1))
    for method in SALIENCY_METHODS:
        reason = ""
        if method.name == "grad-cam" and layers is not None:
            kinds = [type(layer).__name__ for layer in layers(data_shape)]
            reason = "" if "Conv2D" in kinds else no_convolution(run.config.architecture)
        if not has_weights(run) and not method.answers_only:
            reason = "the run has no weights"
        reasons[method.name] = reason
    return reasons


def no_convolution(architecture: str) -> str:
    """Why there is no Grad-CAM of such a network."""
    return f"{architecture} has no convolution, so there is no Grad-CAM; use integrated-gradients or occlusion"


def explain(
    run: Run,
    wanted: Mapping[str, Sequence[str]],
    methods: Sequence[str] = ("grad-cam",),
    *,
    dataset: Dataset | None = None,
    progress: Progress = no_progress,
) -> list[Saliency]:
    """Maps of scans; what is not kept yet is computed in a child process and then kept in `runs/<id>/saliency/`.

    Each method comes with the model-randomisation check. Where a run has no weights but an ONNX file, methods that
    need only answers are computed here, without the check.

    Args:
        run: A network's run that has ended.
        wanted: Label to ids of scans.
        methods: Names of `SALIENCY_METHODS`.
        dataset: The run's dataset; None opens it.
        progress: Told how far it is while it computes; what it raises ends the work.

    Returns:
        One for each label and method, in that order, with the scans in the order that was asked for.

    Raises:
        RequestError: Unknown label, id or method, no network that can be looked into, damaged weights, or a method
            that the network does not allow.
    """
    entries = [SALIENCY_METHODS.get(name) for name in methods]
    data = check_inspectable(run, dataset, answers_only=all(entry.answers_only for entry in entries))
    known = set(data.samples["id"])
    for label, ids in wanted.items():
        head_of(run, label)
        for name in ids:
            if name not in known:
                raise unknown_name(f"sample of dataset {data.name!r}", name, known)
    reasons = methods_for(run)
    for entry in entries:
        if reasons[entry.name]:
            raise RequestError(f"run {run.id}: {reasons[entry.name]}")
    tasks = []
    results = {}
    for label, ids in wanted.items():
        for entry in entries:
            results[label, entry.name] = found = open_saliency(run, entry.name, label, ids)
            have = set(found.ids)
            if missing := [name for name in dict.fromkeys(ids) if name not in have]:
                tasks.append({"label": label, "method": entry.name, "ids": missing})
    if tasks:
        if has_weights(run):
            computed = _computed_by_child(run, tasks, progress)
        else:
            computed = _computed_here(run, data, tasks, progress)
        for key, fresh in computed.items():
            results[key] = _joined(results[key], fresh)
    return [results[label, entry.name].take(list(ids)) for label, ids in wanted.items() for entry in entries]


def _computed_by_child(run: Run, tasks: list[dict[str, Any]], progress: Progress) -> dict[tuple[str, str], Saliency]:
    ask_child(run, {"maps": tasks}, progress)
    found = {}
    for task in tasks:
        key = (task["label"], task["method"])
        found[key] = open_saliency(run, task["method"], task["label"], task["ids"])
        if len(found[key].ids) < len(task["ids"]):
            raise RequestError(
                f"run {run.id}: {len(found[key].ids):,} of {len(task['ids']):,} maps could be kept; ask for fewer"
            )
    return found


def _computed_here(
    run: Run, data: Dataset, tasks: list[dict[str, Any]], progress: Progress
) -> dict[tuple[str, str], Saliency]:
    """With ONNX files, one scan at a time."""
    from medwb.scoring import Scorer

    scorer, found = Scorer(run), {}
    done, total = 0, sum(len(task["ids"]) for task in tasks)
    for task in tasks:
        entry, index = SALIENCY_METHODS.get(task["method"]), run.label_names.index(task["label"])
        view, maps = OnnxView(scorer, index), []
        for name in task["ids"]:
            maps.append(entry.compute(view, scans_of(data, [name], scorer.shape).astype(np.float32)))
            done += 1
            progress(done, total)
        count = len(task["ids"])
        unknown = np.full((count, len(STAGES)), np.nan, np.float32)
        fresh = Saliency(
            entry.name, task["label"], np.array(task["ids"], str), np.concatenate(maps), unknown, unknown[:, 0]
        )
        save_saliency(run, fresh)
        found[task["label"], task["method"]] = fresh
    return found


class OnnxView:
    """A label of a run's ONNX files as methods see it that need answers only; log odds within -14..14.

    Args:
        scorer: The run's networks.
        index: Of the label.
    """

    def __init__(self, scorer: Any, index: int) -> None:
        self._scorer, self._index = scorer, index

    def log_odds(self, images: Floats) -> Floats:
        """As `View`; pixels are rounded, since the networks take whole numbers."""
        scores = self._scorer.scores(np.rint(images).astype(np.uint8))[:, self._index].astype(np.float64)
        scores = np.clip(scores, 1e-6, 1 - 1e-6)
        return (np.log(scores) - np.log1p(-scores)).astype(np.float32)

    def gradients(self, images: Floats) -> Floats:
        """Never: an ONNX file has none."""
        raise RequestError("an ONNX file gives no gradients; use occlusion")

    def maps(self, images: Floats) -> tuple[Floats, Floats]:
        """Never: an ONNX file shows no maps."""
        raise RequestError("an ONNX file shows no maps of a convolution; use occlusion")


def scans_of(data: Dataset, ids: Sequence[str], shape: tuple[int, int, int]) -> Pixels:
    """Scans by their ids as a network sees them: uint8 (N, *shape). Raises KeyError for an unknown id."""
    rows = pd.Series(data.samples.index, index=data.samples["id"])[list(ids)].to_numpy(np.int64)
    return to_shape(np.asarray(data.images[rows]), shape)


def hardest(run: Run, split: str, label: str, count: int) -> list[str]:
    """Ids of the scans whose score is farthest from the truth, the farthest first; unknown labels do not count.

    Raises:
        RequestError: Unknown label, a split without answers, or none whose label is known.
    """
    head_of(run, label)
    answer, index = run.predictions(split), run.label_names.index(label)
    miss = np.abs(answer.y_score[:, index] - answer.y_true[:, index])
    order = np.argsort(-np.nan_to_num(miss, nan=-1), kind="stable")
    chosen = [str(answer.ids[place]) for place in order if not np.isnan(miss[place])][:count]
    if not chosen:
        raise RequestError(f"run {run.id}: label {label!r} is known of no scan of {split}; choose another --split")
    return chosen


def saliency_path(run: Run, method: str, label: str) -> Path:
    """Where maps of a method and label are kept; the label's number tells names apart that look the same."""
    index = run.label_names.index(label)
    slug = re.sub(r"[^A-Za-z0-9]+", "-", label).strip("-")[:40]
    return run.path / "saliency" / f"{method}-{index}{'-' if slug else ''}{slug}.npz"


def open_saliency(run: Run, method: str, label: str, ids: Sequence[str] | None = None) -> Saliency:
    """The maps that are kept of the run as it is: those of `ids`, or all. None of a damaged file or other weights."""
    path = saliency_path(run, method, label)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if str(arrays["digest"]) != network_digest(run, head_of(run, label)[0]):
                raise ValueError("of other weights")
            found = Saliency(method, label, *(arrays[part] for part in ("ids", "maps", "correlations", "gaps")))
        count = len(found.ids)
        shapes = found.maps.shape[:1], found.correlations.shape, found.gaps.shape
        if shapes != ((count,), (count, len(STAGES)), (count,)) or found.maps.ndim != 3:
            raise ValueError("shapes that do not go together")
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, RequestError):
        found = Saliency.empty(method, label)
    return found if ids is None else found.take(ids)


def save_saliency(run: Run, fresh: Saliency) -> None:
    """Add maps to those that are kept, in one step; the oldest go where there are too many."""
    path = saliency_path(run, fresh.method, fresh.label)
    path.parent.mkdir(exist_ok=True)
    with run.locked():
        old = open_saliency(run, fresh.method, fresh.label)
        new = set(fresh.ids)
        joined = _joined(old.take([name for name in old.ids if name not in new]), fresh)
        most = max(_LEAST_KEPT, len(fresh.ids), MOST_BYTES // max(1, 4 * int(np.prod(fresh.maps.shape[1:]))))
        kept = joined.take(list(joined.ids[-most:]))
        digest = network_digest(run, head_of(run, fresh.label)[0])
        with replacing(path) as temporary, temporary.open("wb") as handle:
            np.savez_compressed(
                handle, digest=np.array(digest), ids=kept.ids, maps=kept.maps, correlations=kept.correlations,
                gaps=kept.gaps,
            )  # fmt: skip


def _joined(a: Saliency, b: Saliency) -> Saliency:
    """Both, the maps of `a` first."""
    if not len(a.ids):
        return b
    parts = ("ids", "maps", "correlations", "gaps")
    return Saliency(a.method, a.label, *(np.concatenate([getattr(a, part), getattr(b, part)]) for part in parts))


def overlay(images: Pixels, maps: Floats, *, strength: float = 0.75) -> Pixels:
    """Maps over their scans in grey: orange speaks for the label, blue against it.

    Each scan has its own scale: what lies beyond the 99th percentile of its absolute values has the full colour.

    Args:
        images: uint8 (N, H, W, C).
        maps: float32 (N, H, W).
        strength: How far full colour hides the scan, 0..1.

    Returns:
        uint8 (N, H, W, 3).
    """
    grey = images.mean(axis=3, keepdims=True).repeat(3, axis=3)
    limit = np.percentile(np.abs(maps), 99, axis=(1, 2), keepdims=True) if len(maps) else np.ones((0, 1, 1))
    most = np.abs(maps).max(axis=(1, 2), keepdims=True, initial=0)
    limit = np.where(limit > 0, limit, np.where(most > 0, most, 1))
    share = np.clip(maps / limit, -1, 1)[..., None]
    colour = np.where(share > 0, _ORANGE, _BLUE)
    return np.rint(grey + (colour - grey) * np.abs(share) * strength).astype(np.uint8)


def summary(run: Run, found: Sequence[Saliency]) -> list[dict[str, Any]]:
    """What maps say together, ready for JSON: a record a label and method, without the pixels."""
    rows = []
    for one in found:
        stages = {stage: one.correlation(number)._asdict() for number, stage in enumerate(STAGES)}
        gap = float(np.nanmax(np.abs(one.gaps))) if (~np.isnan(one.gaps)).any() else None
        rows.append(
            {
                "label": one.label,
                "method": one.method,
                "ids": one.ids.tolist(),
                "file": str(saliency_path(run, one.method, one.label)),
                "rank_correlation": stages,
                "sentence": one.sentence(),
                "largest_gap": gap,
            }
        )
    return rows


def sheet(run: Run, found: Sequence[Saliency], dataset: Dataset | None = None) -> Pixels:
    """One picture of the maps of one label: a row a scan, first as it is, then under each method.

    Args:
        run: Whose maps.
        found: Of one label and the same scans.
        dataset: The run's dataset; None opens it.

    Returns:
        uint8 (height, width, 3).
    """
    from medwb.gallery import contact_sheet

    data = open_dataset(run.config.dataset) if dataset is None else dataset
    images = scans_of(data, found[0].ids.tolist(), input_shape(run.config, data))
    plain = images if images.shape[3] == 3 else images.repeat(3, axis=3)
    columns = [plain, *(overlay(images, one.maps) for one in found)]
    cells = np.stack(columns, axis=1).reshape(-1, *plain.shape[1:])
    return contact_sheet(cells, len(columns), scale=max(1, 160 // max(images.shape[1:3])))
