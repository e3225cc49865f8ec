"""Measures how quick architectures are on this machine; a child of `medwb.plan`, which stops it by killing it.

Standard input, JSON: {"configs": [settings], "spawned": monotonic seconds, "folder": where it may write}. Standard
output, a line each: {"at": number of the config} with "doing", "error", or "measured": `budget.Measurement`.
"""

import gc
import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import cache
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from medwb.architectures import ARCHITECTURES
from medwb.config import RunConfig, make_config
from medwb.dataset import Dataset, open_dataset
from medwb.errors import RequestError
from medwb.metrics import average, evaluate
from medwb.process import usable_cores
from medwb.runs import Run, run_augmentation, run_cleaning
from medwb.training.data import RunData

if TYPE_CHECKING:
    from medwb.training.network import Scores

Tell = Callable[[str], None]

_LEAST_STEPS, _LEAST_S, _MOST_S = 5, 0.5, 3.0  # less than half a second says little on a machine that is shared
_STABLE = 0.1
_GROUPS = 5
_DRAIN_S = 0.5
_SCORED_S = 1.0
_BLOCK = 256  # scans that are scored at a time, and on which an ONNX file is compared, at most
_SMALLEST_FIT, _FIT_S = 128, 1.0
_FARTHEST = 64  # times the largest size that was measured; an exponent says nothing beyond
_EXPONENT_ERROR = 0.2


def measure_network(config: RunConfig, dataset: Dataset, folder: Path, tell: Tell) -> dict[str, Any]:
    """Time the parts of a network's training, each as a run goes through it.

    Args:
        config: What to train.
        dataset: On what.
        folder: Where a checkpoint, weights and an ONNX file may be written.
        tell: Told what is being done.

    Returns:
        Fields of `medwb.budget.Measurement` but `start`; seconds.

    Raises:
        RequestError: The network or its weights cannot be had, or nothing can be learned.
    """

    from medwb.training.fit import make_parts

    lap = _laps()
    data = RunData(dataset, config, run_cleaning(config, dataset), run_augmentation(config))
    heads = 1 if config.heads == "shared" else len(dataset.label_names)
    labels = np.arange(len(dataset.label_names) if heads == 1 else 1)
    if not data.steps:
        raise RequestError(f"no scan of dataset {dataset.name!r} that is learned from has a known label")
    opened = lap()
    tell("building")
    _, network, scorer, optimizer, update, predict = make_parts(config, data.shape, len(labels), config.seed)

    def learn(batch: Any) -> None:
        loss, answer = update(batch.images, batch.targets, batch.weights, np.float32(config.learning_rate))
        float(loss), answer.numpy()

    tell("compiling")
    first = 0
    with closing(data.epoch(1, labels, config.seed)) as batches:
        for batch in batches:
            learn(batch)
            first += 1
            if first == 2:
                break
    built = lap()
    tell("timing steps")
    steps, begins = timed_steps(data, labels, config.seed, learn)
    step = spread(steps, _batch_seconds(data, labels, config.seed))
    tell("scoring")
    lap()
    few = min(
        _BLOCK, len(data.split("val")), max(16, int(_SCORED_S / max(step["value"] / config.batch_size / 3, 1e-6)))
    )
    share = cast(RunData, _Share(data, few))
    scores, tracing = predict(share, "val"), lap()
    predict(share, "val")
    score = (again := lap()) / few
    truth = np.nan_to_num(data.train.labels[:, labels])
    for name in ("f1", "accuracy"):
        average(evaluate(name, truth, truth), "macro")
    watched = lap()
    tell("saving")
    checkpoint = _checkpoint_seconds(config, dataset, folder, [network, optimizer])
    files = _file_seconds(config, scorer, folder, share, scores)
    compared = (min(_BLOCK, len(data.split("val"))) - few) * score
    # A run traces its scoring twice: after the first epoch, and with the weights that it keeps.
    once = max(0.0, built - first * step["value"]) + 2 * max(0.0, tracing - again) + files + compared
    return {
        "data": opened,
        "head": once,
        "epoch": float(np.median(begins)) + watched,
        "checkpoint": checkpoint,
        "step": step,
        "steps": data.steps,
        "score": score,
        "val": len(data.pictures("val")[0]),
        "scans": sum(len(data.pictures(split)[0]) for split in dataset.splits),
        "heads": heads,
    }


class _Share:
    """So many samples of a run's data, for a predictor."""

    def __init__(self, data: RunData, scans: int) -> None:
        self._data, self._scans = data, scans

    def pictures(self, split: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        return np.arange(self._scans), np.arange(self._scans)

    def images(self, split: str, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        return self._data.images(split, positions)


def timed_steps(
    data: RunData, labels: npt.NDArray[np.int64], seed: int, learn: Callable[[Any], None]
) -> tuple[list[float], list[float]]:
    """Learn from batches until the time of one is known well enough: `enough`.

    Returns:
        Seconds a step, the wait for its batch included, but that for an epoch's first batch: these come second.
    """
    steps, begins, begun = list[float](), list[float](), time.monotonic()
    for epoch in count(1):
        before = time.monotonic()
        with closing(data.epoch(epoch, labels, seed)) as batches:
            for position, batch in enumerate(batches):
                if position == 0:
                    begins.append(time.monotonic() - before)
                    before = time.monotonic()
                learn(batch)
                now = time.monotonic()
                steps.append(now - before)
                before = now
                if enough(steps, now - begun):
                    return steps, begins
    raise AssertionError("epochs do not end")


def enough(steps: Sequence[float], elapsed: float) -> bool:
    """Whether the median of so many steps is known within 10 %, or the time is up.

    The interval is 1.96 standard errors of a median, from the median absolute deviation as for normal errors.

    Args:
        steps: Seconds each.
        elapsed: Seconds since the first.
    """
    if elapsed >= _MOST_S:
        return True
    if len(steps) < _LEAST_STEPS or elapsed < _LEAST_S:
        return False
    middle = float(np.median(steps))
    deviation = 1.4826 * float(np.median(np.abs(np.asarray(steps) - middle)))
    return 1.96 * math.sqrt(math.pi / 2) * deviation / math.sqrt(len(steps)) <= _STABLE * middle


def spread(steps: Sequence[float], batch: float = 0.0) -> dict[str, float]:
    """Seconds a step: the means of five groups of steps that follow one another, their median, lowest and highest.

    Single steps would say less: one in eight waits for its batch, and only their mean counts in an epoch.

    Args:
        steps: Seconds each, in order.
        batch: Seconds in which a batch can be made; no step is quicker for long.
    """
    means = [float(part.mean()) for part in np.array_split(np.asarray(steps), min(_GROUPS, len(steps)))]
    ends = {"value": float(np.median(means)), "low": min(means), "high": max(means)}
    return {name: max(value, batch) for name, value in ends.items()}


def _batch_seconds(data: RunData, labels: npt.NDArray[np.int64], seed: int) -> float:
    """How long a batch takes to be made when nobody waits for it.

    Batches come in blocks, so the end of a block is waited for.
    """
    arrivals, begun = list[float](), time.monotonic()
    with closing(data.epoch(1, labels, seed)) as batches:
        for _ in batches:
            arrivals.append(time.monotonic() - begun)
            if len(arrivals) > 1 and arrivals[-1] > _DRAIN_S and arrivals[-1] - arrivals[-2] > 0.1 * arrivals[-2]:
                arrivals.pop()
                break
    return arrivals[-1] / len(arrivals)


def _checkpoint_seconds(config: RunConfig, dataset: Dataset, folder: Path, owners: Sequence[Any]) -> float:
    from medwb.training.checkpoint import numbered, save_checkpoint

    facts = {"name": dataset.name, "fingerprint": dataset.fingerprint, "label_names": list(dataset.label_names)}
    record = {"config": config.model_dump(), "dataset": facts, "created": time.time()}
    (folder / "config.json").write_text(json.dumps(record), encoding="utf-8")
    lap = _laps()
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, owner in zip(("network", "optimizer"), owners, strict=True):
        arrays |= numbered(name, (variable.numpy() for variable in owner.variables))
    if config.early_stopping_patience:
        arrays |= numbered("best", owners[0].get_weights())
    save_checkpoint(Run(folder), arrays, {})
    return lap()


def _file_seconds(config: RunConfig, network: Any, folder: Path, share: RunData, scores: "Scores") -> float:
    """How long the files of a network take: its weights, and ONNX, which may fail as it may in a run."""
    from medwb.training.onnx_model import OnnxError, write_onnx

    lap = _laps()
    network.save_weights(folder / "model.weights.h5")
    try:
        write_onnx(network, config, folder / "model.onnx", share.images("val", np.arange(len(scores))), scores)
    except OnnxError as error:
        logging.warning("%s: %s", config.architecture, error)
    return lap()


def measure_baseline(config: RunConfig, dataset: Dataset, tell: Tell) -> dict[str, Any]:
    """Fit a baseline on shares of the training scans, each twice the last, and conclude from these to all.

    Args:
        config: What to fit.
        dataset: On what.
        tell: Told what is being done.

    Returns:
        Fields of `medwb.budget.Measurement` but `start`; seconds.

    Raises:
        RequestError: All is too far from what could be measured.
    """
    lap = _laps()
    data = RunData(dataset, config, run_cleaning(config, dataset), run_augmentation(config))
    opened, scans = lap(), sum(len(data.split(split)) for split in dataset.splits)
    truths = [column for column in data.train.labels.T if len(np.unique(column[~np.isnan(column)])) > 1]
    estimator = ARCHITECTURES.get(config.architecture).estimator
    assert estimator is not None
    if not truths:
        return {"data": opened, "whole": {"value": 0.0, "low": 0.0, "high": 0.0}}
    order = np.random.default_rng(0).permutation(np.flatnonzero(~np.isnan(truths[0])))
    asked = min(_BLOCK, len(order))

    def fit(size: int) -> tuple[float, float, float]:
        """Seconds to read a scan, to fit so many, to answer one."""
        lap()
        pixels = data.pool.images(order[: max(size, asked)]).reshape(max(size, asked), -1).astype(np.float32)
        pixels /= np.float32(255 if config.scale else 1)
        read, classifier = lap(), estimator(config.seed)
        classifier.fit(pixels[:size], truths[0][order[:size]].astype(int))
        fitted = lap()
        (getattr(classifier, "predict_proba", None) or classifier.decision_function)(pixels[:asked])
        return read / len(pixels), fitted, lap() / asked

    size = min(_SMALLEST_FIT, len(order))
    fit(size)  # the first loads what it needs
    sizes, took = list[int](), list[tuple[float, float, float]]()
    while not sizes or (sizes[-1] < len(order) and sum(took[-1][1:]) < (_FIT_S if len(sizes) > 1 else _MOST_S)):
        size = min(2 * size, len(order)) if sizes else size
        tell(f"fitting {size:,} scans")
        took.append(fit(size))
        sizes.append(size)
    fitting = extrapolate(sizes, [fitted for _, fitted, _ in took], len(order))
    answering = extrapolate(sizes, [answered for *_, answered in took], len(order))
    reading = scans * float(np.median([read for read, *_ in took]))
    whole = {end: reading + len(truths) * (fitting[end] + scans * answering[end]) for end in fitting}
    return {"data": opened, "whole": whole}


def extrapolate(sizes: Sequence[int], seconds: Sequence[float], size: int) -> dict[str, float]:
    """Conclude from the two largest sizes that were measured to a larger one, by the exponent between them.

    Args:
        sizes: Rising.
        seconds: What each took.
        size: The size that is asked for.

    Returns:
        "value", "low", "high": the range is that of an exponent that is 0.2 off; none where `size` was measured.

    Raises:
        RequestError: It is too far away, or only one size was measured.
    """
    if sizes[-1] >= size:
        return dict.fromkeys(("value", "low", "high"), seconds[-1])
    if len(sizes) < 2 or size > _FARTHEST * sizes[-1]:
        raise RequestError(f"not measured: what {sizes[-1]:,} scans took says nothing of {size:,}")
    slope = math.log(max(seconds[-1], 1e-6) / max(seconds[-2], 1e-6)) / math.log(sizes[-1] / sizes[-2])
    exponents = {"value": slope, "low": slope - _EXPONENT_ERROR, "high": slope + _EXPONENT_ERROR}
    factor = size / sizes[-1]
    return {name: seconds[-1] * factor ** min(max(one, 0.0), 3.0) for name, one in exponents.items()}


def _laps() -> Callable[[], float]:
    """A stopwatch: each call gives the seconds since the last."""
    last = time.monotonic()

    def lap() -> float:
        nonlocal last
        before, last = last, time.monotonic()
        return last - before

    return lap


@cache
def _loaded(network: bool) -> float:
    """Load what a training of that kind loads; seconds."""
    lap = _laps()
    packages = ("onnx", "onnxruntime", "tf2onnx", "medwb.training.train_network")
    for name in packages if network else ("sklearn.dummy", "scipy.special", "medwb.training.baseline"):
        import_module(name)
    if network:
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()  # as a run does; it makes some steps slower
    return lap()


def _measure(config: RunConfig, dataset: Dataset, folder: Path, started: float, tell: Tell) -> dict[str, Any]:
    tell("loading")
    network = ARCHITECTURES.get(config.architecture).is_network
    start = started + _loaded(network)
    found = measure_network(config, dataset, folder, tell) if network else measure_baseline(config, dataset, tell)
    return {"start": start, **found}


def _load() -> float:
    """How many processes wanted a core in the last minute, a core; 0 where nobody counts."""
    cores = usable_cores()
    return os.getloadavg()[0] / cores if hasattr(os, "getloadavg") else 0.0


def main() -> int:
    """Measure one config after the other; what cannot be is told, and the next one follows."""
    request = json.loads(sys.stdin.read())
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # Keras prints on standard output when it downloads weights
    parent = os.getppid()

    def tell(number: int, **facts: Any) -> None:
        if os.getppid() != parent:  # nobody listens any more
            os._exit(1)
        print(json.dumps({"at": number, **facts}), file=told, flush=True)

    configs = [make_config(values) for values in request["configs"]]
    dataset = open_dataset(configs[0].dataset)
    started, load = time.monotonic() - request["spawned"], _load()
    for number, config in enumerate(configs):

        def doing(text: str, number: int = number) -> None:
            tell(number, doing=text)

        try:
            found = _measure(config, dataset, Path(request["folder"]), started, doing)
            tell(number, measured={"load": load, **found})
        except Exception as error:  # one that cannot be built does not hide the others
            if not isinstance(error, RequestError):
                logging.exception("%s", config.architecture)
            name = "" if isinstance(error, RequestError) else f"{type(error).__name__}: "
            tell(number, error=f"{name}{error}".strip().split("\n")[0][:300])
        if "keras" in sys.modules:
            sys.modules["keras"].utils.clear_session()
        gc.collect()
    return 0


if __name__ == "__main__":
    sys.exit(main())
