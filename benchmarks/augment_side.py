"""One side of `augmenting.py`: the reference study's stream over a file of scans, on one core.

Runs in medwb's environment or in that of the peers; takes SIDE SCANS.npy BATCH and prints images a second.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version

import cv2
import numpy as np

SIZE = 64


def medwb(scans: np.ndarray, batch: int) -> Callable[[], object]:
    """medwb: what the training and the preview call, batch by batch."""
    from medwb.augment import PRESETS, Pool, augment_samples

    pool = Pool(np.arange(len(scans)), np.zeros((len(scans), 3), np.float32), lambda positions: scans[positions])
    epoch = iter(range(1_000_000))

    def work() -> None:
        number = next(epoch)
        for start in range(0, len(scans), batch):
            positions = np.arange(start, min(start + batch, len(scans)))
            augment_samples(pool, positions, PRESETS["study"], 0, number)

    return work


def albumentations(scans: np.ndarray, batch: int) -> Callable[[], object]:
    """The bare albumentations `Compose`."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    import albumentations as A  # noqa: N812

    reflect = {"border_mode": cv2.BORDER_REFLECT_101}

    def hole(pixels: int) -> object:
        return A.CoarseDropout(
            num_holes_range=(1, 1),
            hole_height_range=(pixels, pixels),
            hole_width_range=(pixels, pixels),
            fill=0,
            p=1,
        )

    stream = A.Compose(
        [
            A.Rotate((-90, 90), p=1, **reflect),
            A.HorizontalFlip(p=0.5),
            A.VerticalFlip(p=0.5),
            A.Affine(shear={"x": (-16.7, 16.7), "y": (-38.7, 38.7)}, p=0.5, **reflect),
            A.Affine(scale={"x": (0.8, 1.3), "y": (0.8, 1.3)}, fit_output=True, p=0.5, **reflect),
            A.PadIfNeeded(SIZE, SIZE, p=1, **reflect),
            A.RandomCrop(SIZE, SIZE, p=1),
            A.MedianBlur(blur_limit=(7, 7), p=0.5),
            A.SomeOf([hole(40), hole(50), hole(10), A.NoOp(), A.NoOp()], n=3, replace=False, p=1),
        ],
        seed=0,
    )
    return lambda: [stream(image=scan)["image"] for scan in scans]


def solt(scans: np.ndarray, batch: int) -> Callable[[], object]:
    """SOLT, the study's own library, as its guide writes the stream; it cannot fuse moves when streams nest."""
    import solt
    import solt.transforms as slt

    stream = solt.Stream(
        [
            slt.Rotate(angle_range=(-90, 90), p=1, padding="r"),
            slt.Flip(axis=1, p=0.5),
            slt.Flip(axis=0, p=0.5),
            slt.Shear(range_x=0.3, range_y=0.8, p=0.5, padding="r"),
            slt.Scale(range_x=(0.8, 1.3), range_y=(0.8, 1.3), same=False, p=0.5, padding="r"),
            slt.Pad((SIZE, SIZE), "r"),
            slt.Crop((SIZE, SIZE), "r"),
            slt.Blur(k_size=7, blur_type="m", p=0.5),
            solt.SelectiveStream(
                [
                    slt.CutOut(40, p=1),
                    slt.CutOut(50, p=1),
                    slt.CutOut(10, p=1),
                    solt.Stream(),
                    solt.Stream(),
                ],
                n=3,
            ),
        ],
        ignore_fast_mode=True,
    )
    return lambda: [stream({"image": scan}, return_torch=False).data[0] for scan in scans]


def torchvision(scans: np.ndarray, batch: int) -> Callable[[], object]:
    """torchvision's second version, scan by scan on tensors."""
    import torch
    from torchvision.transforms import v2

    torch.set_num_threads(1)
    linear = v2.InterpolationMode.BILINEAR
    # It fills with black where the others reflect, and has a Gaussian blur where they have the median.
    holes = [v2.RandomErasing(p=0.6, scale=((pixels / SIZE) ** 2,) * 2, ratio=(1, 1)) for pixels in (40, 50, 10)]
    stream = v2.Compose(
        [
            v2.RandomRotation(90, interpolation=linear),
            v2.RandomHorizontalFlip(0.5),
            v2.RandomVerticalFlip(0.5),
            v2.RandomApply([v2.RandomAffine(0, shear=(-16.7, 16.7, -38.7, 38.7), interpolation=linear)], 0.5),
            v2.RandomApply([v2.RandomAffine(0, scale=(0.8, 1.3), interpolation=linear)], 0.5),
            v2.RandomCrop(SIZE, pad_if_needed=True, padding_mode="reflect"),
            v2.RandomApply([v2.GaussianBlur(7)], 0.5),
            *holes,
        ]
    )
    tensors = torch.from_numpy(scans).permute(0, 3, 1, 2)
    return lambda: [stream(tensor) for tensor in tensors]


SIDES = {"medwb": medwb, "albumentations": albumentations, "solt": solt, "torchvision": torchvision}


def main() -> None:
    """Warm up, then time some passes over the scans."""
    side, file, batch = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    scans = np.load(file)
    work = SIDES[side](scans, batch)
    work()
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    print(json.dumps({"images_per_second": len(scans) / seconds, "version": version(side)}))


if __name__ == "__main__":
    main()
