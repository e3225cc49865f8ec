import numpy as np
import pytest
from test_audit_quick_model import make_dataset, noise

from medwb.audit.sets import LARGE_SET
from medwb.statistics import bootstrap_weights
from medwb.units import resampling_units


@pytest.fixture
def copies_of_patients() -> np.ndarray:
    """Two scans a patient; scan 3 (patient 1) is a copy of scan 0 (patient 0)."""
    images = noise(12)
    images[3] = images[0]
    groups = np.array([f"p{number // 2}" for number in range(10)] + ["", ""])
    return resampling_units(make_dataset(images, np.zeros((12, 1)), groups))


def test_patients_and_copies_are_one_unit(copies_of_patients: np.ndarray) -> None:
    units = copies_of_patients
    assert len({units[position] for position in range(4)}) == 1  # the copy ties both patients together
    assert units[4] == units[5] != units[6]
    assert units[10] != units[11]  # no group
    assert sorted(set(units)) == list(range(6))


def test_units_are_drawn_whole(copies_of_patients: np.ndarray) -> None:
    weights = bootstrap_weights(copies_of_patients, draws=50)
    for unit in np.unique(copies_of_patients):
        members = weights[:, copies_of_patients == unit]
        assert (members == members[:, :1]).all()
    assert len(np.unique(weights[:, 0])) > 1


def test_black_frames_stay_apart() -> None:
    images = noise(300)
    images[: LARGE_SET[0] + 20] = 0
    units = resampling_units(make_dataset(images, np.zeros((300, 1)), np.array([""] * 300)))
    assert len(np.unique(units)) == 300


def test_a_black_frame_stays_with_its_patient() -> None:
    images = noise(300)
    images[::3] = 0
    groups = np.array([f"p{number // 3}" for number in range(300)])
    units = resampling_units(make_dataset(images, np.zeros((300, 1)), groups))
    assert np.array_equal(units, np.arange(300) // 3)
