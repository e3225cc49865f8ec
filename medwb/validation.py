"""What a run answered on validation, to fit thresholds and calibrations on; and the files that keep such a fit.

A fit is judged on samples that it has not seen: units (patients, sets of copies) are dealt into folds, the fit is
made on all folds but one and applied to that one, and so on: cross-fitting.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.dataset import Dataset, open_dataset
from medwb.errors import RequestError
from medwb.paths import write_text
from medwb.runs import Predictions, Run
from medwb.statistics import DRAWS, Score, bootstrap_weights, interval
from medwb.strict_json import dump_json

SPLIT = "val"
FOLDS = 5

MACRO = ""
"""The label of scores that are a mean over labels."""

_BLOCK = 128  # bootstrap replicates that are multiplied at a time


@dataclass(frozen=True)
class Validation:
    """Answers on the validation split with what belongs together.

    Attributes:
        run_id: Whose answers.
        label_names: The L labels.
        y_true: float64 (N, L): 1, 0 or NaN for unknown.
        y_score: float64 (N, L) in 0..1.
        units: int64 (N,): number of the sampling unit, 0.. (`medwb.units.resampling_units`).
        digest: Of the answers: 32 hex digits.
    """

    run_id: str
    label_names: tuple[str, ...]
    y_true: npt.NDArray[np.float64]
    y_score: npt.NDArray[np.float64]
    units: npt.NDArray[np.int64]
    digest: str


def validation_of(run: Run, dataset: Dataset | None = None) -> Validation:
    """A run's answers on validation.

    Args:
        run: A run that has answered.
        dataset: What it was trained on; None opens it.

    Raises:
        RequestError: There are no answers, the dataset is gone or has changed, or they are for other samples.
    """
    from medwb.units import resampling_units  # loads OpenCV

    answer = run.predictions(SPLIT)
    data = open_dataset(run.config.dataset) if dataset is None else dataset
    if data.fingerprint != run.fingerprint:
        raise RequestError(f"dataset {data.name!r} has changed since run {run.id} was trained; train again")
    part = data.split(SPLIT)
    order = part.samples["id"].to_numpy(str)
    place = {sample: position for position, sample in enumerate(order.tolist())}
    if len(answer.ids) != len(order) or set(place) != set(answer.ids.tolist()):
        raise RequestError(f"run {run.id} answered other samples than the split {SPLIT!r} has; train again")
    units = resampling_units(part)[[place[sample] for sample in answer.ids.tolist()]]
    truth, score = answer.y_true.astype(np.float64), answer.y_score.astype(np.float64)
    return Validation(run.id, run.label_names, truth, score, units, answers_digest(answer))


def answers_digest(answer: Predictions) -> str:
    """32 hex digits over ids, truth and scores: the same for the same answers, however the file was written."""
    digest = hashlib.blake2b("\0".join(answer.ids.tolist()).encode("utf-8", "surrogatepass"), digest_size=16)
    for array in (answer.y_true, answer.y_score):
        digest.update(np.ascontiguousarray(array, np.float32).tobytes())
    return digest.hexdigest()


def deal_folds(
    y_true: npt.NDArray[np.floating], units: npt.NDArray[np.int64], seed: int, folds: int = FOLDS
) -> npt.NDArray[np.int64]:
    """Deal whole units into folds like cards, those with the rarest label first, so that each fold gets its share.

    Args:
        y_true: (N, L): 1, 0 or NaN.
        units: int64 (N,), 0..U-1 without gaps.
        seed: The same seed deals the same.
        folds: How many.

    Returns:
        int64 (N,): the fold of each sample, 0..folds-1; with fewer units than folds some are empty.
    """
    count = int(units.max(initial=-1)) + 1
    stratum = np.full(count, y_true.shape[1])
    positives = (y_true == 1).sum(axis=0)
    for rank, label in reversed(list(enumerate(np.argsort(positives, kind="stable")))):
        stratum[units[y_true[:, label] == 1]] = rank
    shuffled = np.random.default_rng(seed).permutation(count)
    dealt = shuffled[np.argsort(stratum[shuffled], kind="stable")]
    fold = np.empty(count, np.int64)
    fold[dealt] = np.arange(count) % folds
    return fold[units]


class UnitDraws:
    """Bootstrap replicates of units, and the sums of columns under them.

    Args:
        units: int64 (N,), 0..U-1 without gaps.
        draws: B replicates.
    """

    def __init__(self, units: npt.NDArray[np.int64], draws: int = DRAWS) -> None:
        self.units, self.draws = units, draws
        self._count = int(units.max(initial=-1)) + 1
        self._weights = bootstrap_weights(np.arange(self._count), draws) if self._count else None

    def sums(self, columns: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Sums of columns (N, C): float64 (1 + B, C), the samples as they are first, in full precision."""
        columns = np.asarray(columns, np.float64)
        total = columns.sum(axis=0, keepdims=True)
        if self._weights is None:
            return np.repeat(total, 1 + self.draws, axis=0)
        if self._count < len(columns):
            from scipy.sparse import csr_array

            member = csr_array((np.ones(len(columns)), (self.units, np.arange(len(columns)))))
            columns = member @ columns
        else:
            columns = columns[np.argsort(self.units)]
        single = columns.astype(np.float32)  # counts stay exact below 2 ** 24
        return np.concatenate([total, *(block @ single for block in self._blocks())]).astype(np.float64)

    def _blocks(self) -> Iterator[npt.NDArray[np.float32]]:
        assert self._weights is not None
        for start in range(0, self.draws, _BLOCK):
            yield self._weights[start : start + _BLOCK].astype(np.float32)


def score_row(label: str, score: str, kinds: Mapping[str, npt.NDArray[np.float64]]) -> dict[str, Any]:
    """A row of a fit's scores.

    Args:
        label: A label's name, or `MACRO`.
        score: Key of the score.
        kinds: Column to float64 (1 + B,): the value on the samples as they are, then in each bootstrap replicate.

    Returns:
        `label`, `score`, and for each kind `<kind>`, `<kind>_low`, `<kind>_high` (95 %).
    """
    row: dict[str, Any] = {"label": label, "score": score}
    for kind, values in kinds.items():
        row[kind], row[f"{kind}_low"], row[f"{kind}_high"] = interval(float(values[0]), values[1:])
    return row


def difference(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """a - b with what is rounding made 0: replicates are summed in single precision."""
    found = a - b
    found[np.abs(found) < 1e-7] = 0
    return found


def find_score(rows: pd.DataFrame, label: str, score: str, kind: str) -> Score:
    """One figure of a fit's scores with its interval; NaN where there is no such row."""
    found = rows[(rows["label"] == label) & (rows["score"] == score)]
    if found.empty:
        return Score(np.nan, np.nan, np.nan)
    return Score(*(float(found[column].iloc[0]) for column in (kind, f"{kind}_low", f"{kind}_high")))


def scores_json(rows: pd.DataFrame, label_names: Sequence[str], kinds: Sequence[str]) -> dict[str, Any]:
    """A fit's scores as JSON: {"macro": {score: {kind: {"value", "low", "high"}}}, "labels": {label: the same}}."""
    labels: dict[str, dict[str, Any]] = {name: {} for name in (MACRO, *label_names)}
    for label, score in zip(rows["label"], rows["score"], strict=True):
        labels[label][score] = {kind: find_score(rows, label, score, kind)._asdict() for kind in kinds}
    return {"macro": labels.pop(MACRO), "labels": labels}


def read_scores(facts: Mapping[str, Any], label_names: Sequence[str], kinds: Sequence[str]) -> pd.DataFrame:
    """What `scores_json` wrote. Raises KeyError, TypeError or ValueError where it is something else."""
    rows = []
    for label in (*label_names, MACRO):
        for score, found in (facts["macro"] if label == MACRO else facts["labels"][label]).items():
            row: dict[str, Any] = {"label": label, "score": score}
            for kind in kinds:
                ends = [found[kind][end] for end in Score._fields]
                values = [np.nan if end is None else float(end) for end in ends]
                row |= dict(zip((kind, f"{kind}_low", f"{kind}_high"), values, strict=True))
            rows.append(row)
    return pd.DataFrame(rows)


def save_record(run: Run, name: str, facts: dict[str, Any]) -> None:
    """Keep a fit in a run's folder, with a digest that tells when somebody changed it.

    Args:
        run: The run.
        name: Of the file.
        facts: What JSON can hold; NaN becomes null. `predictions` is the digest of the answers that it was fitted on.

    Raises:
        RequestError: The folder cannot be written to.
    """
    facts = json.loads(dump_json(facts))  # as it comes back from the file, so that the digest does too
    path = run.path / name
    try:
        write_text(path, dump_json({**facts, "digest": _digest(facts)}) + "\n")
    except OSError as error:
        reason = error.strerror or error
        raise RequestError(f"{path} cannot be written ({reason}); make {run.path} writable") from None


def open_record(run: Run, name: str, way_out: str) -> dict[str, Any] | None:
    """A fit that `save_record` kept; None where there is none.

    Args:
        run: The run.
        name: Of the file.
        way_out: The command that writes it anew, for messages.

    Raises:
        RequestError: It is damaged, was changed by hand, or was fitted on other answers than the run has now.
    """
    try:
        facts = json.loads((run.path / name).read_text(encoding="utf-8"))
        if not isinstance(facts, dict) or facts.pop("digest", None) != _digest(facts):
            raise ValueError("its digest does not fit")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise RequestError(
            f"run {run.id}: {name} is damaged or was changed by hand ({error}); write it anew: `{way_out}`"
        ) from error
    if facts.get("predictions") != answers_digest(run.predictions(SPLIT)):
        raise RequestError(
            f"run {run.id}: {name} was fitted on other answers than its predictions.npz holds now; "
            f"write it anew: `{way_out}`"
        )
    return facts


def remove_record(run: Run, name: str) -> bool:
    """Remove a fit; False where there is none. Raises RequestError when it cannot be removed."""
    path = run.path / name
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise RequestError(f"{path} cannot be removed ({error.strerror or error})") from None
    return True


def _digest(facts: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16).hexdigest()
