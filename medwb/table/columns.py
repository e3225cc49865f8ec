"""Columns of the table: scores and facts, how they are written, and which way is better."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from medwb.errors import unknown_name
from medwb.metrics import METRICS
from medwb.replicates import AGREEING

LABEL_METRICS = tuple(entry.name for entry in METRICS if entry.kind == "label")
_SET_METRICS = tuple(entry.name for entry in METRICS if entry.kind == "set")
_F1_AVERAGES = tuple(name for name in _SET_METRICS if name.endswith("_f1"))

SCORES = (
    *_F1_AVERAGES,
    *(name for name in LABEL_METRICS if name != "f1"),
    *(name for name in _SET_METRICS if name not in _F1_AVERAGES),
)
"""Scores of the table that are one value a row: metrics of label sets, and those of labels averaged over labels
(macro; of F1 there are several averages)."""

SCORE_TITLES = {name: METRICS.get(name).title for name in SCORES} | {AGREEING: "Macro F1, agreeing scans"}

ALL = "all"
"""Asks for every column but the scores of single labels other than F1."""


class Fact(NamedTuple):
    """A column of the table that is no score.

    Attributes:
        title: How it is written.
        spec: Format of its numbers.
        better: "higher" or "lower" values come first when the table is sorted by it.
        help: What it is, in a sentence.
    """

    title: str
    spec: str
    better: str
    help: str


FACTS = {
    "runs": Fact("Runs", ".0f", "higher", "Seeds that the means are over."),
    "parameters": Fact("Parameters", ",.0f", "lower", "Weights of the network or networks."),
    "flops": Fact("FLOPs", ",.0f", "lower", "Operations for one scan: twice the multiply-adds of its layers."),
    "train_seconds": Fact("Training, s", ".1f", "lower", "How long a run trained, mean over seeds."),
    "images_per_second": Fact("Images/s", ",.0f", "higher", "How many scans a run answered in a second."),
    "looks": Fact("Test looks", ".0f", "lower", "How often the runs were evaluated on the test split, at most."),
    "reference_score": Fact("Reference F1", ".3f", "higher", "What the reference study reported, on its own scans."),
}
"""Facts of a row by name."""

TEXTS = {"title": "Architecture", "settings": "Settings"}


def score_title(column: str) -> str:
    """How a score column is written: "f1:edema" as "F1 edema"."""
    metric, colon, label = column.partition(":")
    if colon and metric in LABEL_METRICS:
        return f"{METRICS.get(metric).title} {label}"
    return SCORE_TITLES.get(column, column)


def column_title(column: str) -> str:
    """How any column is written; "↓" marks scores of which lower is better."""
    if column in FACTS:
        return FACTS[column].title
    if column in TEXTS:
        return TEXTS[column]
    return score_title(column) + (" ↓" if better(column) == "lower" else "")


def better(column: str) -> str:
    """Whether "higher" or "lower" values of a column are better."""
    metric = column.partition(":")[0]
    if column in FACTS:
        return FACTS[column].better
    return METRICS.get(metric).better if metric in METRICS.names() else "higher"


def bounds(column: str) -> tuple[float, float]:
    """The lowest and the highest value that a score can take."""
    return (-1.0, 1.0) if column.partition(":")[0] == "mcc" else (0.0, 1.0)


def label_columns(label_names: Sequence[str]) -> list[str]:
    """ "f1:edema", ...: every metric of each label."""
    return [f"{metric}:{label}" for metric in LABEL_METRICS for label in label_names]


def choose_columns(names: Iterable[str], label_names: Sequence[str]) -> list[str]:
    """The columns that a user names, each once.

    Args:
        names: Names of columns; "f1" and other metrics with a colon at the end ("roc_auc:") stand for those of each
            label, "all" for F1 of each label, all scores that are one value a row, and all facts.
        label_names: The labels.

    Raises:
        RequestError: There is no such column.
    """
    known = all_columns(label_names)
    per_label = {metric: [f"{metric}:{label}" for label in label_names] for metric in LABEL_METRICS}
    chosen: dict[str, None] = {}
    for name in (name.strip() for name in names):
        found = [name]
        if name == ALL:
            found = [*per_label["f1"], *SCORES, *FACTS]
        elif name == "f1" or (name.endswith(":") and name[:-1] in per_label):
            found = per_label[name.removesuffix(":")]
        elif name not in known:
            raise unknown_name("column of the table", name, [*known, "f1", ALL])
        chosen |= dict.fromkeys(found)
    return list(chosen)


def sort_column(name: str, label_names: Sequence[str]) -> str:
    """The column that a table is sorted by where a user names this one. Raises RequestError when there is none."""
    texts = {"architecture": "title", "settings": "settings"}
    known = all_columns(label_names)
    if name not in known and name not in texts:
        raise unknown_name("column of the table", name, [*texts, *known])
    return texts.get(name, name)


def all_columns(label_names: Sequence[str]) -> list[str]:
    """Names of all columns that can be shown: scores that are one value a row, those of each label, facts."""
    return [*SCORES, AGREEING, *label_columns(label_names), *FACTS]
