"""Certificate: proof, kept with every run, of whether the splits that it saw leak."""

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from medwb.audit.cleaning.changes import Cleaning, counted
from medwb.audit.leaks import find_leaks
from medwb.audit.memory import Memory
from medwb.audit.results import digest, open_audit
from medwb.audit.sets import exact_sets
from medwb.dataset import Dataset
from medwb.errors import RequestError
from medwb.paths import audits_dir
from medwb.strict_json import dump_json


@dataclass(frozen=True)
class Certificate:
    """Whether splits leak, after a run's cleaning.

    Attributes:
        fingerprint: The dataset, before the cleaning.
        cleaning: Digest of the cleaning; "" for none.
        checked: What was compared. `exact`: always true. `near`: `radius`, `similarity` and `mirrored` of the audit
            whose near copies were compared, None when the dataset had no fresh audit. `groups`: named groups that
            were compared.
        leaks: `Leaks.summary` of what the cleaning keeps.
        left_out: Samples of each of val and test that the cleaning leaves out. A run answers these too, so a clean
            certificate speaks only for scores without them.
        clean: Whether no sample meets another split. Frames of one value in several splits do not count.
        hash: 32 hex digits over all of the above and over the sets and groups that were compared (`compared`).
        compared: Digest of those sets and groups.
    """

    fingerprint: str
    cleaning: str
    checked: dict[str, Any]
    leaks: dict[str, Any]
    left_out: dict[str, int]
    clean: bool
    compared: str
    hash: str

    def to_json(self) -> dict[str, Any]:
        """What `config.json` keeps; `read_certificate` reads it back."""
        return asdict(self)

    @property
    def text(self) -> str:
        """One line for a table's foot or a page."""
        near = self.checked["near"]
        looked = "near copies not looked at: no fresh audit"
        if near:
            looked = f"near copies within {near['radius']:g} and alike at {near['similarity']:g}"
        verdict = "no leak" if self.clean else "; ".join(self.warnings)
        groups = f"{self.checked['groups']:,} groups" if self.checked["groups"] else "patients not known"
        return f"{verdict} (exact copies, {groups}, {looked}; {self.hash[:8]})"

    @property
    def warnings(self) -> list[str]:
        """What makes scores of the run doubtful, a sentence each; empty when nothing does."""
        found = []
        if not self.clean:
            pictures = self.leaks["sets"] - self.leaks["constant_sets"]
            touched = [
                f"{part['touched']:,} of {part['samples']:,} {split} samples ({part['share']:.1%})"
                for split, part in ((split, self.leaks[split]) for split in ("val", "test"))
                if part["touched"]
            ]
            found.append(
                f"the splits leak: {counted(pictures, 'set')} of copies and {counted(self.leaks['groups'], 'group')} "
                f"stand in more than one, and touch {' and '.join(touched)}; scores on these are too good"
            )
        if left := [f"{count:,} of {split}" for split, count in self.left_out.items() if count]:
            found.append(
                f"the cleaning leaves out samples ({', '.join(left)}) that predictions and tables still hold: the "
                "certificate speaks for the others"
            )
        return found


def certify(dataset: Dataset, cleaning: Cleaning | None = None) -> Certificate:
    """Compare a dataset's splits by copies and groups as a run sees them.

    Exact copies are always looked for; near ones are those of the dataset's audit when it is fresh. Answers are
    remembered, so that many runs of one dataset hash its pixels once.

    Args:
        dataset: The whole dataset.
        cleaning: What the run leaves out and changes; None for nothing.
    """
    summary = audits_dir() / dataset.name / "summary.json"
    try:
        stamp = (summary.stat().st_mtime_ns, summary.stat().st_size)
    except OSError:
        stamp = None
    key = (*_identity(dataset), cleaning.digest if cleaning else "", stamp)
    return _certificates.get(key, lambda: _certify(dataset, cleaning))


def read_certificate(record: object) -> Certificate:
    """A certificate from its JSON. Raises RequestError when it is damaged or was changed by hand."""
    try:
        if not isinstance(record, dict):
            raise TypeError("it is no mapping")
        certificate = Certificate(**record)
        if certificate.hash != _hash({key: value for key, value in record.items() if key != "hash"}):
            raise ValueError("its hash does not fit")
        return certificate
    except (TypeError, ValueError, KeyError) as error:
        raise RequestError(f"the leak certificate is damaged ({error}); launch a new run") from error


def _certify(dataset: Dataset, cleaning: Cleaning | None) -> Certificate:
    copies, near = _exact.get(_identity(dataset), lambda: exact_sets(dataset)), None
    try:
        audit = open_audit(dataset)
        copies = copies.joined(audit.copies)
        near = {key: audit.summary["near"][key] for key in ("radius", "similarity", "mirrored")}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        pass  # no audit, a damaged one or one of other data: the certificate says that near copies were not looked at
    keep = cleaning.keep(dataset) if cleaning else np.ones(len(dataset), bool)
    kept, split = dataset.subset(keep), dataset.samples["split"].to_numpy(object)
    leaks = find_leaks(kept, copies.restricted(keep))
    facts = {
        "fingerprint": dataset.fingerprint,
        "cleaning": cleaning.digest if cleaning else "",
        "checked": {"exact": True, "near": near, "groups": int((kept.samples["group"].replace("", None)).nunique())},
        "leaks": leaks.summary(),
        "left_out": {name: int((~keep & (split == name)).sum()) for name in ("val", "test")},
        "clean": leaks.clean,
        "compared": digest(leaks.copies.of.tobytes() + leaks.groups.of.tobytes()),
    }
    facts = json.loads(dump_json(facts))  # as it comes back from a file, so that the hash does too
    return Certificate(**facts, hash=_hash(facts))


_exact, _certificates = Memory(), Memory()


def _identity(dataset: Dataset) -> tuple[str, str, str, int]:
    return dataset.fingerprint, dataset.name, str(dataset.path), len(dataset)


def _hash(facts: dict[str, Any]) -> str:
    return digest(json.dumps(facts, sort_keys=True).encode())
