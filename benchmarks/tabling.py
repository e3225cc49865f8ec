"""The table of 40 runs on 3,000 samples with 14 labels, every score with 2,000 bootstrap draws, beside scikit-learn.

    python benchmarks/tabling.py [--runs 40] [--samples 3000] [--draws 2000] [--prevalence 0.3]

medwb: `f1_table`, from the runs' folders to the table with all its columns, nothing kept in memory; again with
nothing new; and again with 200 runs of which one is new. The other side is what one writes without it: a loop over
runs and draws that takes the drawn samples and asks scikit-learn (and numpy for the calibration error, which it has
not) for the same scores. Of that loop a few draws are timed in the same run and multiplied; both sides score the same
draws, and the largest difference between their values is reported. `medwb_processor_s` is what all cores together
worked: on an idle machine with two of them the table takes little more than half of it. Labels are as frequent as in
ChestX-ray14 (0.2 to 18 %) unless `--prevalence` says otherwise: ranking metrics take longer with more positives.
"""

import argparse
import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from measure import report, seconds
from sklearn import metrics as sk

from medwb import replicates
from medwb.config import make_config
from medwb.dataset import Dataset, allocate_images, new_dataset, open_dataset, save_dataset
from medwb.metrics import METRICS
from medwb.process import usable_cores
from medwb.runs import Predictions, Run, create_run
from medwb.table import build, f1_table

PREVALENCE = (0.10, 0.02, 0.12, 0.18, 0.05, 0.06, 0.012, 0.05, 0.04, 0.02, 0.022, 0.015, 0.03, 0.002)
MANY = 200
TIMED = 3
"""Draws of the loop that are timed, each of another run."""

Floats = npt.NDArray[np.float64]


def make_dataset(samples: int, prevalence: Floats) -> Dataset:
    """Labels without pictures: 8 x 8 pixels of noise, all to be scored but for a few to be learned from."""
    rng = np.random.default_rng(0)
    total, few = samples + 200, 200
    labels = (rng.random((total, len(prevalence))) < prevalence).astype(np.float32)
    names = [f"label {number:02}" for number in range(len(prevalence))]
    table = pd.DataFrame(labels, columns=pd.Index(names))
    table["id"] = [f"{number:06}" for number in range(total)]
    table["group"], table["split"] = "", np.repeat(["val", "train"], [samples, few])
    with new_dataset("tabling") as folder:
        images = allocate_images(folder / "images.npy", (total, 8, 8, 1))
        images[:] = rng.integers(0, 256, images.shape)
        save_dataset(folder, table, names, images, format="csv", source="benchmark", ingest={"read": total})
    return open_dataset("tabling")


def finish(dataset: Dataset, number: int) -> Run:
    """A run with scores of a logistic model with noise; two seeds a setting."""
    settings = {"epochs": 1 + number // 2 % 100, "seed": number % 2 + number // 200 * 2}
    run = create_run(make_config({"dataset": dataset.name, "architecture": "cnn-1", **settings}), dataset)
    part = dataset.split("val")
    noise = np.random.default_rng(number).normal(0, 1.2, part.labels.shape)
    score = 1 / (1 + np.exp(-(1.8 * part.labels + noise - 3)))
    run.save_predictions(
        {"val": Predictions(part.samples["id"].to_numpy(str), part.labels, score.astype(np.float32))}
    )
    run.update_status(state="finished", epoch=1, train_seconds=60.0)
    return run


def by_hand(truth: Floats, score: Floats) -> dict[str, Floats | float]:
    """The scores of the table, with scikit-learn."""
    called = score >= 0.5
    labels = range(truth.shape[1])
    known = [label for label in labels if truth[:, label].any()]
    found: dict[str, Floats | float] = {
        f"{how}_f1": sk.f1_score(truth[:, known], called[:, known], average=how) for how in ("macro", "weighted")
    }
    found["micro_f1"] = sk.f1_score(truth, called, average="micro")
    found["samples_f1"] = sk.f1_score(truth, called, average="samples", zero_division=1)
    found["f1"] = sk.f1_score(truth, called, average=None)
    found["precision"] = sk.precision_score(truth, called, average=None)
    found["recall"] = sk.recall_score(truth, called, average=None)
    found["specificity"] = sk.recall_score(1 - truth, ~called, average=None)
    found["average_precision"] = sk.average_precision_score(truth, score, average=None)
    found["roc_auc"] = sk.roc_auc_score(truth, score, average=None)
    found["accuracy"] = np.array([sk.accuracy_score(truth[:, label], called[:, label]) for label in labels])
    found["mcc"] = np.array([sk.matthews_corrcoef(truth[:, label], called[:, label]) for label in labels])
    found["brier"] = np.array([sk.brier_score_loss(truth[:, label], score[:, label]) for label in labels])
    found["calibration_error"] = np.array([calibration_error(truth[:, label], score[:, label]) for label in labels])
    found["exact_match"] = sk.accuracy_score(truth, called)
    found["hamming_loss"] = sk.hamming_loss(truth, called)
    found["ranking_loss"] = sk.label_ranking_loss(truth, score)
    return found


def calibration_error(truth: Floats, score: Floats) -> float:
    """Expected calibration error of one label over 15 bins."""
    place = np.clip(np.ceil(score * 15).astype(int) - 1, 0, 14)
    return float(np.abs(np.bincount(place, score - truth, minlength=15)).sum() / len(truth))


def forget() -> None:
    """Empty what medwb keeps in memory between tables."""
    replicates._KEPT = replicates._Kept()
    build._KEPT.clear()


def loop(dataset: Dataset, runs: list[Run], draws: int) -> tuple[float, float]:
    """Seconds of one draw of one run by hand, and the largest difference to medwb's value of the same draw."""
    scored = replicates.score_split(dataset, "val", draws)
    times, difference = [], 0.0
    for number, run in enumerate(runs[:TIMED]):
        answer = replicates.aligned_predictions(run, "val", scored.order)
        ours = replicates.replicate_scores(run, scored)
        truth, score = answer.y_true.astype(np.float64), answer.y_score.astype(np.float64)
        drawn = np.repeat(np.arange(len(truth)), scored.weights[number + 1])
        found: dict[str, Floats | float] = {}
        times.append(seconds(lambda: found.update(by_hand(truth[drawn], score[drawn]))))  # noqa: B023
        for name in METRICS.names():
            mine = ours[name][number + 1]
            gap = np.abs(mine - found[name])[~np.isnan(mine)]
            difference = max(difference, float(np.max(gap, initial=0)))
    return statistics.median(times), difference


def main() -> None:
    """Measure both sides and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("runs", 40), ("samples", 3000), ("draws", 2000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--prevalence", type=float, help="Of all labels.")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="sklearn")
    prevalence = np.full(14, options.prevalence) if options.prevalence else np.array(PREVALENCE)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MEDWB_HOME"] = str(Path(folder))
        dataset = make_dataset(options.samples, prevalence)
        runs = [finish(dataset, number) for number in range(options.runs)]

        def table() -> None:
            f1_table(open_dataset("tabling"), draws=options.draws)

        first, busy, again, by_loop = [], [], [], []
        difference = 0.0
        for _ in range(options.rounds):
            forget()
            before = time.process_time()
            first.append(seconds(table))
            busy.append(time.process_time() - before)
            again.append(seconds(table))
            one, gap = loop(dataset, runs, options.draws)
            by_loop.append(one * options.draws * options.runs)
            difference = max(difference, gap)
        for number in range(options.runs, MANY):
            finish(dataset, number)
        forget()
        many = seconds(table)
        finish(dataset, MANY)
        one_more = seconds(table)
    ours, other = statistics.median(first), statistics.median(by_loop)
    report(
        {
            "runs": options.runs,
            "samples": options.samples,
            "labels": len(prevalence),
            "prevalence": prevalence.tolist(),
            "draws": options.draws,
            "metrics": METRICS.names(),
            "usable_cores": usable_cores(),
            "load_average": round(os.getloadavg()[0], 2),
            "medwb_s": round(ours, 2),
            "medwb_all_rounds_s": [round(value, 2) for value in first],
            "medwb_processor_s": round(statistics.median(busy), 2),
            "medwb_nothing_new_s": round(statistics.median(again), 2),
            "loop_s": round(other),
            "loop_extrapolated_from": f"{TIMED} draws a round, each of one run",
            "ratio": round(other / ours),
            "largest_difference": difference,
            f"medwb_{MANY}_runs_s": round(many, 2),
            f"medwb_{MANY}_runs_one_new_s": round(one_more, 2),
        },
        ("numpy", "scipy", "scikit-learn"),
    )


if __name__ == "__main__":
    main()
