"""The map of a run's features: what the layer before the outputs makes of each scan, laid out in two dimensions."""

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.dataset import Dataset
from medwb.errors import RequestError
from medwb.inspection import ask_child, check_inspectable, head_of, network_digest
from medwb.paths import replacing
from medwb.progress import Progress, no_progress
from medwb.registry import Registry
from medwb.runs import Run

OUTCOMES = ("true positive", "false positive", "false negative", "true negative", "unknown")
"""What an answer is at a threshold; unknown where the label is."""

Floats = npt.NDArray[np.float32]
_FLOAT16_MOST = 60_000.0


@dataclass(frozen=True)
class Features:
    """What the last layer before the outputs gives.

    Attributes:
        split: Of which split; several joined with "+".
        ids: str (N,), in the dataset's order.
        values: float32 (N, F).
    """

    split: str
    ids: npt.NDArray[np.str_]
    values: Floats


@dataclass(frozen=True)
class Layout:
    """A scan's place on the map.

    Attributes:
        xy: float32 (N, 2).
        axes: Title of each axis; for PCA with the share of variance that it explains.
    """

    xy: Floats
    axes: tuple[str, str]


@dataclass(frozen=True)
class EmbeddingMethod:
    """A way from features to a map.

    Attributes:
        name: What it is called.
        title: How a page writes it.
        summary: First line of its docstring.
        compute: From float32 (N, F) to a `Layout`.
    """

    name: str
    title: str
    summary: str
    compute: Callable[[Floats], Layout]


EMBEDDINGS: Registry[EmbeddingMethod] = Registry("embedding")


def embedding_method(name: str, *, title: str) -> Callable[[Callable[[Floats], Layout]], Callable[[Floats], Layout]]:
    """Register the decorated function as a way to lay features out."""

    def register(compute: Callable[[Floats], Layout]) -> Callable[[Floats], Layout]:
        summary = (compute.__doc__ or "").strip().split("\n")[0]
        EMBEDDINGS.add(name, EmbeddingMethod(name, title, summary, compute))
        return compute

    return register


@embedding_method("pca", title="PCA")
def pca(values: Floats) -> Layout:
    """The two directions in which features vary most. Distances mean something; much may lie in other directions.

    Features are centred, not scaled. scikit-learn's PCA.
    """
    from sklearn.decomposition import PCA

    varying = values.std(axis=0).any() if len(values) else False
    if len(values) < 2 or values.shape[1] < 2 or not varying:
        raise RequestError(
            f"{len(values):,} scans of {values.shape[1]} features that are all the same make no map; choose another "
            "split or run" if not varying else
            f"{len(values):,} scans of {values.shape[1]} features make no map: two of each are needed"
        )  # fmt: skip
    fitted = PCA(2, random_state=0)
    xy = fitted.fit_transform(values.astype(np.float64 if len(values) < 2000 else np.float32))
    first, second = (f"Component {n}: {share:.0%} of the variance" for n, share in _shares(fitted))
    return Layout(xy.astype(np.float32), (first, second))


def _shares(fitted: Any) -> list[tuple[int, float]]:
    return [(number, float(share)) for number, share in enumerate(fitted.explained_variance_ratio_, start=1)]


@embedding_method("umap", title="UMAP")
def umap(values: Floats) -> Layout:
    """Neighbours stay neighbours. Sizes of clusters and distances between them mean nothing.

    McInnes et al. 2018, arXiv:1802.03426: umap-learn with 15 neighbours and seed 0. Needs the extra `umap`.
    """
    try:
        package = import_module("umap")
    except ImportError as error:
        raise RequestError(
            "UMAP needs a package that is not installed: pip install 'medwb[umap]'; or use pca"
        ) from error
    if len(values) < 4:
        raise RequestError(f"{len(values):,} scans make no UMAP; choose a larger split, or pca")
    xy = package.UMAP(n_neighbors=min(15, len(values) - 1), random_state=0, n_jobs=1).fit_transform(values)
    return Layout(np.asarray(xy, np.float32), ("UMAP 1 (no unit)", "UMAP 2 (no unit)"))


def lay_out(features: Features, method: str = "pca") -> Layout:
    """Lay features out in two dimensions.

    Args:
        features: Of N scans.
        method: A name of `EMBEDDINGS`.

    Raises:
        RequestError: Unknown method, a package that is missing, or too few scans.
    """
    return EMBEDDINGS.get(method).compute(features.values)


def find_features(
    run: Run,
    splits: Sequence[str],
    label: str,
    *,
    dataset: Dataset | None = None,
    progress: Progress = no_progress,
) -> Features:
    """The features of splits; what is not kept yet is computed in a child process and kept in the run's folder.

    Args:
        run: A network's run that has ended.
        splits: At least one.
        label: Which network, where there is one a label; a shared network has one set of features for all.
        dataset: The run's dataset; None opens it.
        progress: Told how far it is while it computes; what it raises ends the work.

    Raises:
        RequestError: Unknown label or split, no network that can be looked into, or damaged weights.
    """
    data = check_inspectable(run, dataset)
    head_of(run, label)
    parts = {split: data.split(split) for split in splits}
    missing = [split for split in parts if open_features(run, split, label) is None]
    if missing:
        ask_child(run, {"features": [{"split": split, "label": label} for split in missing]}, progress)
    found = [open_features(run, split, label) for split in parts]
    kept = [one for one in found if one is not None]
    if len(kept) < len(found):
        raise RequestError(f"run {run.id}: its features could not be kept in {run.path}; is the disk full?")
    return Features(
        "+".join(splits), np.concatenate([one.ids for one in kept]), np.concatenate([one.values for one in kept])
    )


def features_path(run: Run, split: str, label: str) -> Path:
    """Where features are kept; with a number where there is a network a label."""
    head = "" if run.config.heads == "shared" else f"-{run.label_names.index(label)}"
    return run.path / f"features-{split}{head}.npz"


def open_features(run: Run, split: str, label: str) -> Features | None:
    """The features that are kept of the run as it is; None where there are none, or a damaged file."""
    try:
        with np.load(features_path(run, split, label), allow_pickle=False) as arrays:
            if str(arrays["digest"]) != network_digest(run, head_of(run, label)[0]):
                return None
            found = Features(split, arrays["ids"], arrays["values"].astype(np.float32))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, RequestError):
        return None
    return found if found.values.ndim == 2 and len(found.ids) == len(found.values) else None


def save_features(run: Run, features: Features, label: str) -> None:
    """Keep features of one split, in float16 where they fit: three digits are more than a map shows.

    Raises:
        RequestError: They hold what is no number.
    """
    values = features.values
    if not np.isfinite(values).all():
        raise RequestError(f"run {run.id}: its network answers with what is no number; train again")
    kept = values.astype(np.float16) if np.abs(values).max(initial=0) < _FLOAT16_MOST else values
    digest = np.array(network_digest(run, head_of(run, label)[0]))
    with replacing(features_path(run, features.split, label)) as temporary, temporary.open("wb") as handle:
        np.savez(handle, digest=digest, ids=features.ids, values=kept)


def map_table(
    run: Run, dataset: Dataset, features: Features, layout: Layout, label: str, threshold: float
) -> pd.DataFrame:
    """What a map shows, a row a scan.

    Args:
        run: Whose answers.
        dataset: Its dataset.
        features: N scans.
        layout: Where they lie.
        label: What they are coloured by.
        threshold: A score from this on is a yes.

    Returns:
        `id`, `x`, `y`, `split`, `truth` ("positive", "negative", "unknown"), `score` (NaN where the run has not
        answered), `outcome` (one of `OUTCOMES`).

    Raises:
        RequestError: The run has no answers, or they are damaged.
    """
    index = run.label_names.index(label)
    samples = dataset.samples.set_index("id").reindex(pd.Index(features.ids))
    known: dict[str, float] = {}
    for split in run.predicted_splits():
        if split in features.split.split("+"):
            answer = run.predictions(split)
            known |= dict(zip(answer.ids.tolist(), answer.y_score[:, index].tolist(), strict=True))
    truth = samples[label].to_numpy().astype(np.float64)
    score = np.array([known.get(name, np.nan) for name in features.ids.tolist()], np.float64)
    return pd.DataFrame(
        {
            "id": features.ids,
            "x": layout.xy[:, 0],
            "y": layout.xy[:, 1],
            "split": samples["split"].to_numpy(object),
            "truth": np.select([truth == 1, truth == 0], ["positive", "negative"], "unknown"),
            "score": score,
            "outcome": outcomes(truth, score, threshold),
        }
    )


def outcomes(
    truth: npt.NDArray[np.float64], score: npt.NDArray[np.float64], threshold: float
) -> npt.NDArray[np.str_]:
    """One of `OUTCOMES` for each answer: (N,) of 1, 0, NaN and (N,) scores; unknown where either is."""
    called, open_ = score >= threshold, np.isnan(truth) | np.isnan(score)
    cases = [open_, (truth == 1) & called, (truth == 0) & called, (truth == 1) & ~called, (truth == 0) & ~called]
    return np.select(cases, [OUTCOMES[4], *OUTCOMES[:4]], OUTCOMES[4])
