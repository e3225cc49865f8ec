"""Decides, before anything is drawn, what samples there are: ids, splits, patients, findings, black frames."""

import numpy as np
import numpy.typing as npt
import pandas as pd

FINDINGS = {
    "label1": "joint effusion: bright fluid in the pouch above and behind the kneecap",
    "label2": "cartilage defect: a notch of fluid in the cartilage of the femur, dark bone beside it",
    "label3": "marrow lesion: a bright, ragged patch of marrow with a dark rim, in the femur or the tibia",
}
"""What each label means."""

LABEL_NAMES = tuple(FINDINGS)

SPLIT_SHARES = {"train": 0.60, "val": 0.15, "test": 0.25}
FIRST_IDS = {"train": 1, "val": 4, "test": 7}
"""First digit of a split's ids: 10000.png, 40000.png, 70000.png, with as many noughts as keep the splits apart."""

BLACK_SHARE = 4985 / 15000
SLICES = (3, 8)
"""Frames a patient, fewest and most."""

STEADY = 0.6
"""Share of a patient's slices that show what the patient has; the others are drawn afresh."""

PATTERNS = {
    (0, 0, 0): 0.525,
    (1, 0, 0): 0.105,
    (1, 1, 0): 0.137,
    (1, 1, 1): 0.216,
    (1, 0, 1): 0.005,
    (0, 1, 0): 0.006,
    (0, 0, 1): 0.003,
    (0, 1, 1): 0.003,
}
"""Share of the frames that are not black with each pattern of label1, label2, label3: nested but for a few."""

NESTED = tuple(PATTERNS)[:4]


def plan_samples(samples: int, rng: np.random.Generator) -> pd.DataFrame:
    """Plan the dataset without its faults, apart from the black frames.

    Args:
        samples: How many, 60 or more.
        rng: Where the choices come from.

    Returns:
        One row a sample: `id` (str, unique), `split`, `patient` (int, from 0; in one split only), `black` (bool),
        and an int8 column a label.
    """
    counts = _split_counts(samples)
    splits, first_patient = [], 0
    for split, count in counts.items():
        plan = _plan_split(count, rng)
        plan["patient"] += first_patient
        first_patient = int(plan["patient"].max()) + 1
        plan.insert(0, "id", _ids(split, count, max(counts.values())))
        plan.insert(1, "split", split)
        splits.append(plan)
    return pd.concat(splits, ignore_index=True)


def _split_counts(samples: int) -> dict[str, int]:
    train = round(samples * SPLIT_SHARES["train"])
    val = round(samples * SPLIT_SHARES["val"])
    return {"train": train, "val": val, "test": samples - train - val}


def _ids(split: str, count: int, largest: int) -> list[str]:
    step = 10_000
    while largest > 3 * step:  # the first digits lie 3 apart
        step *= 10
    first = FIRST_IDS[split] * step
    return [f"{number}.png" for number in range(first, first + count)]


def _plan_split(count: int, rng: np.random.Generator) -> pd.DataFrame:
    sizes = rng.integers(SLICES[0], SLICES[1] + 1, count // SLICES[0] + 1)
    patient = np.repeat(np.arange(len(sizes)), sizes)[:count]  # the last patient takes what is left
    patient = rng.permutation(patient)
    usual, own = _quota(len(sizes), rng)[patient], _quota(count, rng)
    labels = np.where(rng.random((count, 1)) < STEADY, usual, own)

    black = np.zeros(count, bool)
    black[rng.permutation(count)[: round(count * BLACK_SHARE)]] = True
    # A black frame shows nothing, so its labels are drawn without regard to it: they contradict one another.
    labels[black] = rng.random((int(black.sum()), len(LABEL_NAMES))) < _prevalences()
    return pd.DataFrame({"patient": patient, "black": black} | dict(zip(LABEL_NAMES, labels.T, strict=True)))


def _quota(count: int, rng: np.random.Generator) -> npt.NDArray[np.int8]:
    """Label patterns in just the shares of `PATTERNS`, in random order: int8 (count, 3)."""
    edges = np.cumsum(list(PATTERNS.values()))
    places = (np.arange(count) + rng.random()) / count
    which = np.minimum(np.searchsorted(edges, places, side="right"), len(edges) - 1)
    return rng.permutation(np.array(list(PATTERNS), np.int8)[which])


def _prevalences() -> npt.NDArray[np.float64]:
    return np.array(list(PATTERNS.values())) @ np.array(list(PATTERNS), np.float64)
