"""The demo dataset: synthetic MR-like knee slices, learnable, with planted faults and their answer key.

`answer_key.parquet` in the dataset's folder lists what was planted, one row a sample and fault, all columns str:

    id      the sample
    fault   what is wrong with it (below)
    set     the set that the sample belongs to; "" where the fault takes one sample
    other   id of the original that it was copied from, or of its patient's sample in the home split; "" for none
    detail  what was done

    black               all zero; its labels are arbitrary. One set, "black"
    constant            one grey value, not 0, everywhere; detail has the value. One set, "constant"
    exact_copy          pixel for pixel the same, in one split, with the same labels. The original is listed too
    contradictory_copy  pixel for pixel the same, in one split, with other labels. The original is listed too
    near_copy           shifted, brightened, re-encoded, turned or cropped, in one split, with the same labels. The
                        original is listed too
    exact_leak          an exact copy of a train sample in val or test. The original is listed too
    near_leak           a near copy of a train sample in val or test. The original is listed too
    patient_leak        a sample in val or test of a patient from train; the set is the patient
    inverted            black and white exchanged
    wrong_label         one label flipped; detail has which, and the right and the wrong value

What the three labels mean is in `FINDINGS`, and in the dataset's `dataset.json`.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from medwb.dataset import allocate_images, new_dataset, save_dataset
from medwb.demo.anatomy import draw_slices
from medwb.demo.faults import Edit, Planter, patient_id
from medwb.demo.findings import grade
from medwb.demo.plan import FINDINGS, LABEL_NAMES, plan_samples
from medwb.demo.scene import SIDE, draw_patients
from medwb.errors import RequestError
from medwb.paths import check_name, datasets_dir
from medwb.progress import Progress, no_progress

__all__ = ["FINDINGS", "LABEL_NAMES", "SAMPLES", "write_demo"]

SAMPLES = (60, 1_000_000)
"""Fewest and most samples: below, a split has too few for its faults; above, it is a load test, not a demo."""

_BATCH = 16  # frames drawn at a time: few, so that they stay in the cache; each batch has its own random stream


def write_demo(name: str = "demo", samples: int = 20000, seed: int = 0, progress: Progress = no_progress) -> bool:
    """Write the demo dataset and its answer key; do nothing when a dataset of that name is there.

    Args:
        name: The dataset's name.
        samples: How many, 60 to 1,000,000: 60 % train, 15 % val, 25 % test; a third are black.
        seed: 0 or more. The same seed gives the same bytes.
        progress: Called as frames are drawn.

    Returns:
        Whether it was written.

    Raises:
        RequestError: The name is not allowed, `samples` or `seed` is out of range, or the disk is full.
    """
    if not SAMPLES[0] <= samples <= SAMPLES[1]:
        raise RequestError(f"--samples {samples} is out of range; give {SAMPLES[0]} to {SAMPLES[1]}")
    if seed < 0:
        raise RequestError(f"--seed {seed} is negative; give 0 or more")
    if (datasets_dir() / check_name(name, "dataset") / "dataset.json").is_file():
        return False
    with new_dataset(name) as folder:
        rng = np.random.default_rng([seed, 0])
        table = plan_samples(samples, rng)
        seen = table[list(LABEL_NAMES)].to_numpy(np.int8, copy=True)  # what is drawn; faults change what is recorded
        planter = Planter(table, rng)
        planter.plant()

        images = allocate_images(folder / "images.npy", (samples, SIDE, SIDE, 1))
        patient = table["patient"].to_numpy()
        patients = draw_patients(int(patient.max()) + 1, rng)[patient]
        _draw(images, np.flatnonzero(~table["black"]), patients, seen, seed, progress)
        _edit(images, planter.edits)

        table["group"] = [patient_id(number) for number in patient]
        planter.answer_key().to_parquet(folder / "answer_key.parquet", index=False)
        save_dataset(
            folder,
            table.drop(columns=["patient", "black"]),
            LABEL_NAMES,
            images,
            format="demo",
            source=f"medwb demo --samples {samples} --seed {seed}",
            ingest={"read": samples},
            facts={"findings": FINDINGS},
        )
    return True


def _draw(
    images: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.int64],
    patients: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int8],
    seed: int,
    progress: Progress,
) -> None:
    """Draw the frames of `rows` into `images`; `patients` and `labels` have one row an image."""

    def draw(start: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        rng = np.random.default_rng([seed, 1, start])
        batch = rows[start : start + _BATCH]
        return batch, draw_slices(patients[batch], grade(labels[batch], rng), rng)

    drawn = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            for batch, frames in pool.map(draw, range(0, len(rows), _BATCH)):
                images[batch, :, :, 0] = frames
                drawn += len(batch)
                progress(drawn, len(rows))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # on Ctrl-C, do not draw the rest first


def _edit(images: npt.NDArray[np.uint8], edits: list[Edit]) -> None:
    for edit in edits:
        images[edit.row, :, :, 0] = edit.change(images[edit.source, :, :, 0])
