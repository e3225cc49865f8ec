"""Scores of runs under many weightings of one split's samples: what intervals and comparisons are made of."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.audit.contradictions import contradictory_samples
from medwb.audit.sets import DuplicateSets, exact_sets
from medwb.dataset import Dataset, open_dataset
from medwb.errors import RequestError, unknown_name
from medwb.metrics import METRICS, Answers, Tally, Weightings, check_answers, compute
from medwb.process import usable_cores
from medwb.runs import Predictions, Run
from medwb.statistics import DRAWS, bootstrap_weights
from medwb.units import resampling_units

AGREEING = "agreeing_macro_f1"
"""Macro F1 on the samples that are in no set of identical images with contradictory labels."""

KEPT_BYTES = 256 * 2**20
"""Of replicates that are kept in memory for the next table or comparison, at most."""

_BLOCK_CELLS = 2**19  # weights scored at a time by a thread: a block of draws stays near the processor

Replicates = dict[str, npt.NDArray[np.float64]]
"""Name of a score to its values under each weighting: (1+B,), or (1+B, L) for a metric of each label."""
Key = tuple[str, str, str, bytes]


@dataclass(frozen=True)
class ScoredSplit:
    """A split with the bootstrap replicates that all its runs are scored on.

    Attributes:
        dataset: The dataset.
        name: "train", "val" or "test".
        part: The split's N samples.
        order: Their ids, in the order of all arrays here.
        identical: Sets of samples whose pixels are the same.
        units: int64 (N,): samples with one number are drawn together (`medwb.units.resampling_units`).
        weights: uint16 (1+B, N): how often each sample is drawn; the first row is ones, the samples as they are.
        agreeing: bool (N,): samples in no set of identical images with contradictory labels.
    """

    dataset: Dataset
    name: str
    part: Dataset
    order: pd.Index
    identical: DuplicateSets
    units: npt.NDArray[np.int64]
    weights: npt.NDArray[np.uint16]
    agreeing: npt.NDArray[np.bool_]

    @cached_property
    def digest(self) -> str:
        """16 hex digits that change with whatever scores on this split depend on, but for the runs' answers."""
        facts = hashlib.blake2b(digest_size=8)
        facts.update(repr((self.dataset.name, self.dataset.fingerprint, self.name, self.weights.shape)).encode())
        facts.update("\n".join(map(str, self.order)).encode())
        for array in (self.units, self.agreeing, self.weights[1:2]):  # a row of draws tells their seed
            facts.update(array.tobytes())
        return facts.hexdigest()


def score_split(dataset: str | Dataset, split: str, draws: int = DRAWS, seed: int = 0) -> ScoredSplit:
    """Draw the bootstrap replicates of a split. The same seed gives the same draws, so that scores are paired.

    Args:
        dataset: The dataset or its name.
        split: "train", "val" or "test".
        draws: Bootstrap replicates B.
        seed: Of the draws.

    Raises:
        RequestError: No such dataset or split, or no label of the split is known.
    """
    data = open_dataset(dataset) if isinstance(dataset, str) else dataset
    if split not in data.known_label_splits():
        if split in data.splits:
            raise RequestError(f"no label of the split {split!r} of {data.name!r} is known, so it cannot be scored")
        raise unknown_name(f"split of {data.name}", split, data.splits)
    part = data.split(split)
    identical = exact_sets(part)
    units = resampling_units(part, identical)
    weights = np.vstack([np.ones((1, len(part)), np.uint16), bootstrap_weights(units, draws, seed)])
    agreeing = ~contradictory_samples(part.labels, identical)
    return ScoredSplit(data, split, part, pd.Index(part.samples["id"]), identical, units, weights, agreeing)


def aligned_predictions(run: Run, split: str, order: pd.Index) -> Predictions:
    """A run's answers in the dataset's order. Raises RequestError when they are for other samples."""
    answer = run.predictions(split)
    position = pd.Index(answer.ids).get_indexer(order)
    if len(answer.ids) != len(order) or (position < 0).any():
        raise RequestError(f"run {run.id} answered other samples than the split {split!r} has; train again")
    return Predictions(answer.ids[position], answer.y_true[position], answer.y_score[position])


def replicate_scores(run: Run, scored: ScoredSplit, threshold: float | npt.ArrayLike = 0.5) -> Replicates:
    """Every score of a run under each weighting of a split.

    Args:
        run: A run that has answered the split.
        scored: The split (`score_split`).
        threshold: A label is called where its score is at least this; one for all, or (L,).

    Returns:
        Names of label metrics ("f1", ...) to float64 (1+B, L); names of metrics of whole label sets ("macro_f1",
        ...) and `AGREEING` to float64 (1+B,). Row 0 is the samples as they are. Read-only: others see the same.

    Raises:
        RequestError: The run has no usable predictions of these samples.
    """
    found = score_runs([run], scored, threshold)[0]
    if isinstance(found, RequestError):
        raise found
    return found


def score_runs(
    runs: Sequence[Run], scored: ScoredSplit, threshold: float | npt.ArrayLike = 0.5
) -> list[Replicates | RequestError]:
    """`replicate_scores` of several runs at once; what is wrong with a run stands in its place.

    What was scored before is kept in memory, up to `KEPT_BYTES`, until the run's predictions change.
    """
    limits = np.asarray(threshold, np.float64).tobytes()
    keys = [(str(run.path), predictions_stamp(run), scored.digest, limits) for run in runs]
    found: dict[int, Replicates | RequestError] = {}
    for place, key in enumerate(keys):
        if (kept := _KEPT.get(key)) is not None:
            found[place] = kept
    missing = [place for place in range(len(runs)) if place not in found]

    def open_answers(place: int) -> Answers | RequestError:
        try:
            answer = aligned_predictions(runs[place], scored.name, scored.order)
            return check_answers(answer.y_true, answer.y_score, threshold)
        except RequestError as error:
            return error

    with threads() as pool:
        opened = dict(zip(missing, pool.map(open_answers, missing), strict=True))
        usable = {place: answers for place, answers in opened.items() if isinstance(answers, Answers)}
        found |= {place: error for place, error in opened.items() if isinstance(error, RequestError)}
        fresh = dict(zip(usable, _score(list(usable.values()), scored, pool), strict=True))
    for place, scores in fresh.items():
        _KEPT.put(keys[place], scores)
    found |= fresh
    return [found[place] for place in range(len(runs))]


def predictions_stamp(run: Run) -> str:
    """What changes when a run's predictions do; "" when it has none. Cheap."""
    try:
        facts = (run.path / "predictions.npz").stat()
    except OSError:
        return ""
    return f"{facts.st_mtime_ns} {facts.st_ino} {facts.st_size}"


def _score(answers: list[Answers], scored: ScoredSplit, pool: ThreadPoolExecutor) -> list[Replicates]:
    """Scores of several answers, block of weightings by block, which all of them share."""
    weights, agreeing = scored.weights, scored.agreeing
    agreed = [Answers(np.where(agreeing[:, None], a.y_true, np.nan), a.y_score, a.threshold) for a in answers]
    both = list(zip(answers, answers if agreeing.all() else agreed, strict=True))
    plain = Weightings(weights[:1])
    # Once on the samples as they are: what does not depend on weightings is found before threads share it.
    scores = list(pool.map(lambda pair: _tally_scores(pair[0], pair[1], plain), both))
    for values in scores:
        for name, first in values.items():
            whole = np.empty((len(weights), *first.shape[1:]))
            whole[0] = first[0]
            values[name] = whole
    step = max(64, _BLOCK_CELLS // max(weights.shape[1], 1) // 4 * 4)

    def score_block(start: int) -> None:
        block = slice(start, min(start + step, len(weights)))
        weightings = Weightings(weights[block])
        for (answer, agreed_answer), values in zip(both, scores, strict=True):
            for name, part in _tally_scores(answer, agreed_answer, weightings).items():
                values[name][block] = part

    list(pool.map(score_block, range(1, len(weights), step)))
    for values in scores:
        for whole in values.values():
            whole.setflags(write=False)
    return scores


def _tally_scores(answers: Answers, agreed: Answers, weightings: Weightings) -> Replicates:
    tally = Tally(answers, weightings)
    scores = {entry.name: compute(entry, tally) for entry in METRICS}
    macro_f1 = METRICS.get("macro_f1")
    scores[AGREEING] = scores["macro_f1"] if agreed is answers else compute(macro_f1, Tally(agreed, weightings))
    return scores


@contextmanager
def threads() -> Iterator[ThreadPoolExecutor]:
    """As many threads as cores, each with one thread of BLAS: its own would be in the way."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"), ThreadPoolExecutor(usable_cores()) as pool:
        yield pool


class _Kept:
    """The replicates that were used last, up to so many bytes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[Key, Replicates] = OrderedDict()
        self._bytes = 0

    def get(self, key: Key) -> Replicates | None:
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
            return self._entries.get(key)

    def put(self, key: Key, scores: Replicates) -> None:
        with self._lock:
            self._drop(key)
            self._entries[key] = scores
            self._bytes += _size(scores)
            while self._bytes > KEPT_BYTES:
                self._drop(next(iter(self._entries)))

    def _drop(self, key: Key) -> None:
        if key in self._entries:
            self._bytes -= _size(self._entries.pop(key))


def _size(scores: Replicates) -> int:
    return sum(values.nbytes for values in scores.values())


_KEPT = _Kept()
