import numpy as np
import pytest

from medwb.audit.sets import DuplicateSets, exact_sets
from medwb.dataset import allocate_images, new_dataset, open_dataset, save_dataset


def test_sets_are_numbered_by_their_first_members():
    sets = DuplicateSets.from_keys(np.array([7, 3, 9, 3, 7, 3, 1]))
    assert sets.of.tolist() == [0, 1, -1, 1, 0, 1, -1]
    assert (len(sets), sets.samples) == (2, 5)
    assert sets.sizes.tolist() == [2, 3]
    assert sets.representatives.tolist() == [0, 1]
    assert [part.tolist() for part in sets.members()] == [[0, 4], [1, 3, 5]]
    assert len(np.unique(sets.units)) == 4


def test_pairs_are_joined_through_others():
    sets = DuplicateSets.from_pairs(6, np.array([5, 1, 0]), np.array([3, 3, 2]))
    assert sets.of.tolist() == [0, 1, 0, 1, -1, 1]


def test_two_kinds_of_sets_join():
    one = DuplicateSets(np.array([0, 0, -1, 1, 1, -1]))
    two = DuplicateSets(np.array([-1, 0, 0, -1, -1, -1]))
    assert one.joined(two).of.tolist() == [0, 0, 0, 1, 1, -1]
    assert two.joined(one).of.tolist() == [0, 0, 0, 1, 1, -1]


def test_a_set_of_which_one_sample_is_left_is_no_set():
    sets = DuplicateSets(np.array([0, 0, 1, 1, 1]))
    assert sets.restricted([True, False, True, True, False]).of.tolist() == [-1, 0, 0]


@pytest.mark.parametrize("samples", [0, 1, 4])
def test_no_copies_are_no_sets(samples):
    sets = DuplicateSets.from_keys(np.arange(samples))
    assert (len(sets), sets.samples, list(sets.members())) == (0, 0, [])
    assert len(sets.representatives) == 0
    assert len(sets.joined(sets)) == 0


@pytest.mark.parametrize("shape", [(8, 8, 1), (600, 500, 3)])
def test_exact_copies_are_found_by_their_pixels(home, shape):
    import pandas as pd

    rng = np.random.default_rng(0)
    with new_dataset("copies") as folder:
        images = allocate_images(folder / "images.npy", (12, *shape))
        images[:] = rng.integers(0, 256, images.shape)
        images[7] = images[2]
        images[11] = images[2]
        images[4] = images[3]
        images[5] = images[6]
        images[5, 0, 0, 0] ^= 1
        table = pd.DataFrame({"id": [f"{k}.png" for k in range(12)], "split": "train"})
        save_dataset(folder, table, [], images, format="csv", source="test", ingest={})
    sets = exact_sets(open_dataset("copies"))
    assert [part.tolist() for part in sets.members()] == [[2, 7, 11], [3, 4]]
