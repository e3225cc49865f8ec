"""The study of cleaning policies."""

from medwb.audit.cleaning import POLICIES, Cleaning, cleaning_names, make_cleaning, open_cleaning, save_cleaning
from medwb.audit.contradictions import contradictory_samples
from medwb.audit.results import open_audit
from medwb.dataset import Dataset
from medwb.errors import RequestError
from medwb.studies.study import SPLIT, Plan, Variant, study


@study(
    "cleaning",
    title="Cleaning policies",
    finding="The reference study removed all black scans but one in some runs, and reports no comparison.",
)
def cleaning(dataset: Dataset) -> Plan:
    """Does it matter what is done about contradictory copies in the train split?

    Every policy that acts on train alone is a variant, if it changes anything and no other does the same. Scored are
    the validation samples that are in no contradictory set of copies, with their labels as imported.
    """
    audit = open_audit(dataset)
    variants, by_digest, notes = [Variant("keep everything", {"cleaning": "none"})], dict[str, str](), list[str]()
    for policy in POLICIES:
        if policy.splits is not None:
            continue  # about leaks: another question
        made = make_cleaning(audit, [policy.name])
        if not len(made.table):
            continue
        if made.digest in by_digest:
            notes.append(f"{policy.name} does the same as {by_digest[made.digest]} here, and is not trained")
            continue
        by_digest[made.digest] = policy.name
        out, changed = sum(made.excluded.values()), sum(made.relabelled.values())
        _keep(dataset, made)
        variants.append(
            Variant(policy.name, {"cleaning": made.name}, f"train: samples out {out:,}, labels changed {changed:,}")
        )
    if len(variants) == 1:
        raise RequestError(f"no policy changes the train split of {dataset.name!r}: there is nothing to compare")
    here = (dataset.samples["split"] == SPLIT).to_numpy(bool)
    scored = ~contradictory_samples(dataset.labels, audit.copies)[here]
    if here.any() and not scored.any():
        raise RequestError(
            f"every validation sample of {dataset.name!r} is a copy with contradictory labels, so none can be scored"
        )
    return Plan(variants, scored, notes)


def _keep(dataset: Dataset, made: Cleaning) -> None:
    """Save a cleaning unless it is there. Raises RequestError when another one has its name."""
    if made.name in cleaning_names(dataset):
        try:
            saved = open_cleaning(dataset, made.name)
        except RequestError:  # stale or damaged: no run can use it
            saved = made
        if (saved.policies, saved.splits) != (made.policies, made.splits):
            raise RequestError(
                f"the cleaning {made.name!r} was made by {'+'.join(saved.policies)} on {', '.join(saved.splits)}; "
                f"the study needs that name: remove it with `medwb clean {dataset.name} --remove {made.name}`"
            )
        if saved is not made and saved.digest == made.digest:
            return
    save_cleaning(made)
