"""Survey: what is measured of a dataset, each thing once, for all checks."""

from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from medwb.audit.frames import measure_frames
from medwb.audit.leaks import Leaks, find_leaks
from medwb.audit.near import NearCopies, find_near_copies
from medwb.audit.quick_model import QuickModel, fit_quick_model
from medwb.audit.sets import DuplicateSets, exact_sets
from medwb.dataset import Dataset, release_pages
from medwb.progress import Progress, Stages, no_progress

_SHARES = {"exact": 1, "frames": 5, "near": 35, "model": 9, "checks": 5}  # of the time, in order


class Survey:
    """Measurements that checks share; each is made when it is first asked for.

    Args:
        dataset: What is looked at. Arrays of the survey follow the order of its samples.
        radius: How far apart the signatures of near copies may lie, 0..2; None takes the default.
        similarity: How alike the details of near copies must be, 0..1; None takes the default.
        mirrored: Whether mirror images count as near copies.
        progress: Called as work goes on.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        radius: float | None = None,
        similarity: float | None = None,
        mirrored: bool = False,
        progress: Progress = no_progress,
    ) -> None:
        self.dataset = dataset
        self._radius, self._similarity = radius, similarity
        self.mirrored = mirrored
        self._told = -1

        def told(done: int, total: int) -> None:
            if done != self._told:  # pages of scans that were read do not pile up
                self._told = done
                release_pages(dataset.images)
            progress(done, total)

        self._stages = Stages(told, _SHARES)

    def measure(self) -> None:
        """Make all measurements, in the order of the progress."""
        for name in ("exact", "frames", "near", "model"):
            getattr(self, name)

    def checked(self, done: int, total: int) -> None:
        """Report that so many checks of all are asked."""
        self._stages["checks"](done, total)

    @cached_property
    def exact(self) -> DuplicateSets:
        """Samples with the same pixels."""
        return exact_sets(self.dataset, self._stages["exact"])

    @cached_property
    def frames(self) -> pd.DataFrame:
        """`measure_frames` of the dataset: brightness, contrast and the like, one row a sample."""
        return measure_frames(self.dataset, self._stages["frames"])

    @cached_property
    def near(self) -> NearCopies:
        """Samples that are copies but for a shift, brightness, re-encoding, blur, a small turn or crop."""
        return find_near_copies(
            self.dataset,
            self.exact,
            radius=self._radius,
            similarity=self._similarity,
            mirrored=self.mirrored,
            progress=self._stages["near"],
        )

    @cached_property
    def copies(self) -> DuplicateSets:
        """Exact and near copies together."""
        return self.exact.joined(self.near.sets)

    @cached_property
    def set_names(self) -> npt.NDArray[np.object_]:
        """object (N,): name of each sample's set of copies, "set-3"; "" for a sample without copies."""
        return np.array([f"set-{number}" if number >= 0 else "" for number in self.copies.of], object)

    @cached_property
    def leaks(self) -> Leaks:
        """Sets of copies and groups that stand in more than one split."""
        return find_leaks(self.dataset, self.copies)

    @cached_property
    def model(self) -> QuickModel:
        """Out-of-fold answers of a quick model for every label."""
        return fit_quick_model(self.dataset, self.copies, self._stages["model"])
