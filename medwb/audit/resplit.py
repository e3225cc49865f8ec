"""New splits for a dataset, which no copy and no group crosses."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.audit.leaks import constant_frames, find_leaks
from medwb.audit.sets import DuplicateSets
from medwb.dataset import SPLITS, Dataset, allocate_images, new_dataset, open_dataset, save_dataset
from medwb.errors import RequestError
from medwb.progress import Progress, no_progress
from medwb.splits import DEFAULT_FRACTIONS, draw_splits
from medwb.statistics import number_groups

_BLOCK = 256  # frames copied at a time
_CANDIDATES, _EXCHANGED = 20_000, 500  # units that may move, and that may be exchanged between two splits
_STEPS, _ENOUGH = 2_000, 1e-6


def resplit(
    dataset: Dataset,
    copies: DuplicateSets,
    name: str,
    fractions: Sequence[float] = DEFAULT_FRACTIONS,
    seed: int = 0,
    *,
    keep_test: bool | None = None,
    progress: Progress = no_progress,
) -> Dataset:
    """Write a new dataset of the same samples with splits that are stratified by label and do not leak.

    What is connected by sets of copies and by groups goes to one split as a whole. Frames of one value (all black,
    say) are no exception for their group, but they tie nothing together by being copies: they show nothing, and a
    third of a dataset in one split would leave the others without. Leaks and certificates count them the same way.

    A test split that is kept keeps exactly its samples: a submission and an official test list depend on them.
    Samples of train and val that share copies or a group with it are left out of the new dataset.

    Args:
        dataset: What to split anew; it is not changed.
        copies: Its sets of copies, exact and near.
        name: Name of the new dataset.
        fractions: Shares of train, val and test, adding up to 1. With a kept test split, train and val share the
            rest in the ratio of theirs.
        seed: The same seed gives the same splits.
        keep_test: Whether the test split stays as it is; None keeps it when it is there and no label of it is known.
        progress: Called as frames are copied; the images are linked, not copied, when all samples stay.

    Returns:
        The new dataset; `dataset.json` says under "splits" how it was made.

    Raises:
        RequestError: The name is not allowed or taken, the fractions are no shares, there is no test split to keep,
            or nothing is left to split.
    """
    shares = dict(zip(SPLITS, fractions, strict=False))
    sound = len(fractions) == len(SPLITS) and min(fractions) >= 0 and fractions[0] > 0
    if not (sound and abs(sum(fractions) - 1) < 1e-6):  # NaN is refused too
        text = ",".join(f"{share:g}" for share in fractions)
        raise RequestError(f"fractions {text} are not three shares that add up to 1, such as 0.7,0.15,0.15")
    if seed < 0:
        raise RequestError(f"seed {seed} is negative; give 0 or more")
    if keep_test is None:
        keep_test = "test" in dataset.splits and "test" not in dataset.known_label_splits()
    if keep_test and "test" not in dataset.splits:
        raise RequestError(f"dataset {dataset.name!r} has no test split to keep; leave that out")
    ties = _without_constant(dataset, copies)
    test = (dataset.samples["split"] == "test").to_numpy(bool) & keep_test
    stay = np.ones(len(dataset), bool)
    if keep_test:
        of_test = replace(dataset, samples=dataset.samples.assign(split=np.where(test, "test", "train")))
        stay = test | ~find_leaks(of_test, ties).touched.any(axis=1)
        shares = {split: shares[split] / (shares["train"] + shares["val"]) for split in ("train", "val")}
    drawn = stay & ~test
    if not drawn.any():
        raise RequestError(f"dataset {dataset.name!r} has no sample outside of its test split to draw from")
    split = dataset.samples["split"].to_numpy(object).copy()
    units = _units(dataset.subset(drawn), ties.restricted(drawn))
    split[drawn] = _draw(dataset.labels[drawn], units, shares, seed)
    samples = dataset.samples.assign(split=split)[stay]
    leaks = find_leaks(replace(dataset, samples=samples), copies.restricted(stay))
    if not leaks.clean:
        raise RuntimeError("a unit was cut in two")
    facts = {
        "drawn": list(shares),
        "fractions": [shares.get(split, 0.0) for split in SPLITS],
        "seed": seed,
        "from": {"dataset": dataset.name, "fingerprint": dataset.fingerprint},
        "kept": ["test"] if keep_test else [],
        "left_out": int((~stay).sum()),
        "units": len(np.unique(units)),
        "constant_sets": leaks.summary()["constant_sets"],
    }
    return _write(dataset, samples, name, {**_facts(dataset), "splits": facts}, progress)


def balance_table(before: Dataset, after: Dataset) -> pd.DataFrame:
    """How well new splits kept to what was wanted.

    Args:
        before: The dataset that was split anew.
        after: What `resplit` made of it.

    Returns:
        One row a split of `after` for its size (`label` "") and for each label. Columns: `split`, `label`;
        `before`, `wanted`, `achieved`: the share of all samples that the split has or should have, or the label's
        share of positives among known labels (NaN where there is none, or nothing was wanted: a kept split);
        `count`: samples, or positives, in the new split.
    """
    made = _facts(after).get("splits", {})
    drawn = [split for split in made.get("drawn", []) if split in SPLITS]
    fractions = dict(zip(SPLITS, made.get("fractions", []), strict=False))
    pool = after.samples["split"].isin(drawn).to_numpy()
    rows = []
    for split in [split for split in SPLITS if split in after.splits or split in drawn]:
        old, new = ((data.samples["split"] == split).to_numpy() for data in (before, after))
        size = fractions.get(split, np.nan) * pool.sum() / len(after) if split in drawn else np.nan
        sizes = old.mean() if len(old) else np.nan, size, new.mean() if len(new) else np.nan
        rows.append((split, "", *map(float, sizes), int(new.sum())))
        for label, then, now in zip(after.label_names, before.labels.T, after.labels.T, strict=True):
            wanted = _prevalence(now[pool]) if split in drawn else np.nan
            count = int((now[new] == 1).sum())
            rows.append((split, label, _prevalence(then[old]), wanted, _prevalence(now[new]), count))
    return pd.DataFrame(rows, columns=["split", "label", "before", "wanted", "achieved", "count"])


def _prevalence(labels: npt.NDArray[np.float32]) -> float:
    known = labels[~np.isnan(labels)]
    return float(known.mean(dtype=np.float64)) if len(known) else float("nan")


def _without_constant(dataset: Dataset, copies: DuplicateSets) -> DuplicateSets:
    """The sets of copies without those that hold frames of one value only."""
    member = np.flatnonzero(copies.of >= 0)
    shows = np.zeros(len(copies), bool)
    shows[copies.of[member[~constant_frames(dataset, member)]]] = True
    keys = copies.units.copy()
    alone = member[~shows[copies.of[member]]]
    keys[alone] = len(keys) + len(copies) + np.arange(len(alone))
    return DuplicateSets.from_keys(keys)


def _units(dataset: Dataset, copies: DuplicateSets) -> npt.NDArray[np.int64]:
    """int64 (N,): a number for the samples that sets of copies and groups connect."""
    groups = DuplicateSets.from_keys(number_groups(dataset.samples["group"].to_numpy(object)))
    return copies.joined(groups).units


def _draw(
    labels: npt.NDArray[np.float32], units: npt.NDArray[np.int64], shares: dict[str, float], seed: int
) -> npt.NDArray[np.str_]:
    """Splits by `draw_splits`, then evened out by `_even`.

    Iterative stratification places units by one label at a time. Where a unit holds many samples with several labels,
    none without labels are left at its end to even out the sizes.
    """
    some_label = np.column_stack([labels, np.zeros(len(labels), np.float32)])  # a dataset may have none
    split = draw_splits(some_label, units.astype(str), shares, seed)
    names = [name for name in SPLITS if shares.get(name, 0) > 0]
    _, first, unit_of = np.unique(units, return_index=True, return_inverse=True)
    counted = [np.ones(len(labels)), *(np.nan_to_num(labels.T) > 0.5)]
    holds = np.stack([np.bincount(unit_of, column, len(first)) for column in counted], axis=1).astype(np.float64)
    wanted = np.array([shares[name] for name in names])[:, None] * holds.sum(axis=0)
    place = np.array([names.index(name) for name in split[first]], np.int64)
    return np.array(names)[_even(place, holds, wanted, seed)][unit_of]


def _even(
    place: npt.NDArray[np.int64], holds: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64], seed: int
) -> npt.NDArray[np.int64]:
    """Move or exchange whole units, the best step first, while that brings the splits nearer to what is wanted.

    How far off they are is the sum over splits and columns of (have - wanted)^2 / wanted.

    Args:
        place: (units,): the split of each.
        holds: (units, columns): the samples of each, and its positives of each label.
        wanted: (splits, columns).
        seed: Of the choice among very many units.
    """
    place, (splits, _) = place.copy(), wanted.shape
    have = np.stack([holds[place == split].sum(axis=0) for split in range(splits)])
    weight = 1 / np.maximum(wanted, 1)
    some = np.random.default_rng(seed).permutation(len(place))[:_CANDIDATES]
    held = holds[some]
    squares = held**2 @ weight.T
    for _ in range(_STEPS):
        slope = 2 * held @ (weight * (have - wanted)).T
        arrive, leave = squares + slope, (squares - slope)[np.arange(len(some)), place[some]]
        arrive[np.arange(len(some)), place[some]] = np.inf
        change = arrive + leave[:, None]
        best = np.unravel_index(np.argmin(change), change.shape)
        gain, moves = change[best], [(int(some[best[0]]), int(best[1]))]
        if gain > -_ENOUGH:  # no single move helps: look for two units to exchange
            for one, other in combinations(range(splits), 2):
                u, v = (np.flatnonzero(place[some] == split)[:_EXCHANGED] for split in (one, other))
                if not (len(u) and len(v)):
                    continue
                both = 2 * (held[u] * (weight[one] + weight[other])) @ held[v].T
                pair = change[u, other][:, None] + change[v, one] - both
                best = np.unravel_index(np.argmin(pair), pair.shape)
                if pair[best] < gain:
                    swap = int(some[u[best[0]]]), int(some[v[best[1]]])
                    gain, moves = pair[best], [(swap[0], other), (swap[1], one)]
        if gain > -_ENOUGH:
            break
        for unit, target in moves:
            have[place[unit]] -= holds[unit]
            have[target] += holds[unit]
            place[unit] = target
    return place


def _facts(dataset: Dataset) -> dict[str, Any]:
    """What `dataset.json` holds beyond what every dataset has."""
    if dataset.path is None:
        return {}
    try:
        facts = json.loads((dataset.path / "dataset.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    usual = ("format", "source", "label_names", "shape", "fingerprint", "ingest")
    return {key: value for key, value in facts.items() if key not in usual} if isinstance(facts, dict) else {}


def _write(dataset: Dataset, samples: pd.DataFrame, name: str, facts: dict[str, Any], progress: Progress) -> Dataset:
    """Write the samples as a new dataset, over the same file of images where they are all of them."""
    rows = samples.index.to_numpy(np.int64)
    with new_dataset(name) as folder:
        target = folder / "images.npy"
        if not (np.array_equal(rows, np.arange(len(dataset.images))) and _link(dataset, target)):
            images = allocate_images(target, (len(rows), *dataset.image_shape))
            for start in range(0, len(rows), _BLOCK):
                images[start : start + _BLOCK] = dataset.images[rows[start : start + _BLOCK]]
                progress(min(start + _BLOCK, len(rows)), len(rows))
        save_dataset(
            folder,
            samples,
            dataset.label_names,
            np.load(target, mmap_mode="r", allow_pickle=False),
            format=dataset.format,
            source=dataset.source,
            ingest=dataset.ingest,
            facts=facts,
        )
    return open_dataset(name)


def _link(dataset: Dataset, target: Path) -> bool:
    """Give the dataset's images a second name, or copy them where the disk cannot; False without a file."""
    if dataset.path is None:
        return False
    source = dataset.path / "images.npy"
    try:
        os.link(source.resolve(), target)
    except OSError:
        try:
            shutil.copyfile(source, target)
        except OSError as error:
            raise RequestError(f"cannot copy {source} ({error.strerror}); free space, or set MEDWB_HOME") from error
    return True
