"""Studies of what a network is taught to do well: loss, monitored metric, heads."""

from medwb.dataset import Dataset
from medwb.studies.study import Plan, Variant, study


@study(
    "loss",
    title="Loss",
    finding="The reference study found no difference that mattered between binary and categorical cross-entropy.",
)
def loss(dataset: Dataset) -> Plan:
    """Which loss is best?"""
    facts = {
        "binary": "one sigmoid a label",
        "categorical": "two softmax outputs a label",
        "focal": "cross-entropy that weighs what is learned already less",
        "asymmetric": "focal, with easy negatives left out",
    }
    return Plan([Variant(f"{name} loss", {"loss": name}, text) for name, text in facts.items()])


@study(
    "monitor",
    title="Monitored metric",
    finding="The reference study found no difference that mattered between monitoring F1 and accuracy.",
)
def monitor(dataset: Dataset) -> Plan:
    """Does it matter what early stopping watches?"""
    titles = {"f1": "macro F1", "accuracy": "accuracy", "loss": "loss"}
    note = "the monitored metric is watched on the same validation samples that are scored, which favours F1 a little"
    return Plan([Variant(f"watching {title}", {"monitor": name}) for name, title in titles.items()], notes=[note])


@study(
    "heads",
    title="Heads",
    finding="The reference study trained one network a label in all its results, and never ran a shared one.",
)
def heads(dataset: Dataset) -> Plan:
    """Is one network for all labels as good as one network a label?"""
    return Plan(
        [
            Variant("shared network", {"heads": "shared"}, "one network with an output a label"),
            Variant("network a label", {"heads": "per-label"}, f"{len(dataset.label_names)} networks"),
        ]
    )
