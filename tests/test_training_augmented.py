"""What a network receives under augmentation: the same as a preview shows, made ahead on threads."""

import threading
import time

import numpy as np
import pytest
from conftest import write_dataset
from test_training import disputing

from medwb.audit.cleaning import make_cleaning, save_cleaning
from medwb.augment import PRESETS, Augmentation, Pool, Step, augment_samples, open_augmentation, save_augmentation
from medwb.augment.apply import draw
from medwb.augment.receipt import EXAMPLES, EXAMPLES_FILE, Receipt, example_strip, open_receipt
from medwb.config import RunConfig, input_shape, make_config
from medwb.images import to_shape
from medwb.runs import create_run, run_cleaning
from medwb.training.ahead import ahead
from medwb.training.data import RunData

MIXED = Augmentation((Step("rotate", p=0.7), Step("cutout", p=0.5), Step("mixup", p=0.6)))


def run_data(dataset, augmentation, cleaning=None, **settings):
    return RunData(
        dataset, RunConfig(dataset=dataset.name, architecture="fcnn-1", **settings), cleaning, augmentation
    )


def epoch(data, number=1, seed=0):
    labels = np.arange(len(data.dataset.label_names))
    return [np.concatenate(parts) for parts in zip(*data.epoch(number, labels, seed), strict=True)]


def threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ahead")]


@pytest.mark.parametrize("number", [1, 3])
def test_results_come_in_order_whatever_takes_longest(number):
    def slow(item):
        time.sleep(0.02 if item % 3 == 0 else 0)
        return item * item

    assert list(ahead(slow, range(10), number, 4)) == [item * item for item in range(10)]
    assert threads() == []


def test_little_is_made_ahead():
    made = []
    results = ahead(lambda item: made.append(item) or item, iter(range(100)), 2, 3)
    assert [next(results), next(results)] == [0, 1]
    time.sleep(0.05)
    assert len(made) <= 2 + 3
    results.close()
    assert threads() == []


def test_what_a_thread_raises_reaches_the_caller_and_nothing_goes_on():
    def failing(item):
        if item == 2:
            raise OSError("disk")
        return item

    results = ahead(failing, range(100), 2, 5)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(OSError, match="disk"):
        next(results)
    assert threads() == []


def test_an_epoch_that_is_left_early_leaves_no_thread(tiny):
    batches = run_data(tiny, PRESETS["study"], batch_size=8).epoch(1, np.arange(3), 0)
    next(batches)
    batches.close()
    assert threads() == []


def test_an_image_that_cannot_be_read_ends_the_epoch(tiny, monkeypatch):
    def broken(*arguments):
        raise OSError("the disk is gone")

    monkeypatch.setattr("medwb.training.data.augment_samples", broken)
    with pytest.raises(OSError, match="the disk is gone"):
        epoch(run_data(tiny, PRESETS["study"]))
    assert threads() == []


@pytest.mark.parametrize("augmentation", [PRESETS["study"], MIXED], ids=["study", "mixed"])
def test_threads_and_batches_change_nothing(tiny, monkeypatch, augmentation):
    expected = epoch(run_data(tiny, augmentation, class_weights="balanced"))
    for count, block, size in ((1, 1, 32), (4, 32, 5), (3, 1000, 144)):
        monkeypatch.setattr("medwb.training.data.os.cpu_count", lambda count=count: count)
        monkeypatch.setattr("medwb.training.data._BLOCK", block)
        found = epoch(run_data(tiny, augmentation, class_weights="balanced", batch_size=size))
        assert all(np.array_equal(*sides) for sides in zip(expected, found, strict=True))


def test_epochs_and_seeds_differ_and_only_training_scans_change(tiny):
    data = run_data(tiny, PRESETS["study"])
    first, again, other = (epoch(data, number, seed=0)[0] for number in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(np.sort(first, axis=0), np.sort(other, axis=0))
    ordered = np.random.default_rng((0, 1)).permutation(144)
    another = epoch(run_data(tiny, PRESETS["study"], seed=1), 1, seed=0)[0]  # the same order, other draws
    assert not np.array_equal(first, another)
    plain = epoch(run_data(tiny, None), 1)[0]
    assert np.array_equal(plain, tiny.images[:144][ordered])
    for split in ("train", "val", "test"):
        expected = tiny.images[tiny.split(split).rows]
        assert np.array_equal(data.images(split, slice(None)), expected)


def test_mixed_labels_weigh_by_their_share_and_unknown_ones_nothing(tiny):
    tiny.samples.loc[tiny.samples.index[:40], "edema"] = np.nan
    part = tiny.split("train")
    order = np.random.default_rng((0, 1)).permutation(144)
    shown = augment_samples(Pool.of(part), order, MIXED, 0, 1).targets
    _, targets, weights = epoch(run_data(tiny, MIXED, class_weights="balanced"))
    known = ~np.isnan(shown)
    assert 40 < (~known[:, 0]).sum() < 144  # also those that an unknown one was mixed into
    assert ((shown > 0) & (shown < 1)).any(axis=0).all()
    assert np.array_equal(targets, np.nan_to_num(shown))
    assert np.array_equal(weights > 0, known)
    yes, count = np.nansum(part.labels, axis=0, dtype=float), (~np.isnan(part.labels)).sum(0)
    expected = targets * count / (2 * yes) + (1 - targets) * count / (2 * (count - yes))
    assert np.allclose(weights[known], expected[known], rtol=1e-5)


def test_a_receipt_counts_what_was_handed_out_alone(tiny):
    data = run_data(tiny, PRESETS["study"], batch_size=10)
    batches = data.epoch(1, np.arange(3), 0)
    next(batches), next(batches)
    batches.close()
    assert data.receipt.scans == 20
    assert [len(side) for side in data.examples] == [EXAMPLES, EXAMPLES]
    assert run_data(tiny, Augmentation((Step("rotate", enabled=False),))).receipt is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("augmentation", "settings"),
    [
        ("study", {"heads": "per-label", "seed": 5}),
        ("study", {"cleaning": "soft"}),
        ("mixed", {"loss": "categorical", "class_weights": "balanced"}),
        ("mixed", {"image_size": 24, "channels": 3, "cleaning": "soft", "seed": 9}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value.values())),
)
def test_the_network_receives_what_a_preview_shows(tiny, monkeypatch, augmentation, settings):
    """Bit for bit, for each sample, epoch and seed."""
    from medwb.training import fit
    from medwb.training.reporting import Reporter
    from medwb.training.train_network import train_network

    save_augmentation("mixed", MIXED)
    save_cleaning(make_cleaning(disputing(tiny), ["keep-one-soft"], name="soft"))
    config = make_config(
        {"dataset": "tiny", "architecture": "fcnn-1", "epochs": 2, "batch_size": 20, "augmentation": augmentation}
        | {"early_stopping_patience": 0, **settings}
    )
    run = create_run(config, tiny)
    received = []
    make_update = fit.make_update

    def spying(*arguments):
        update = make_update(*arguments)

        def spy(images, targets, weights, rate):
            received.append((images, targets, weights))
            return update(images, targets, weights, rate)

        return spy

    monkeypatch.setattr(fit, "make_update", spying)
    data = RunData(tiny, config, run_cleaning(config, tiny), run.augmentation)
    train_network(run, data, Reporter(run))

    cleaning = run_cleaning(config, tiny)
    part = (cleaning.apply(tiny) if cleaning else tiny).split("train")
    pool, shape = Pool.of(part), input_shape(config, tiny)
    if shape != tiny.image_shape:
        pool = Pool(part.rows, part.labels, lambda where: to_shape(tiny.images[part.rows[where]], shape))
    counted = Receipt.of(open_augmentation(augmentation), augmentation, config.seed)
    labels = [[0], [1], [2]] if config.heads == "per-label" else [[0, 1, 2]]
    for head, mine in enumerate(labels):
        for number in (1, 2):
            order = np.random.default_rng((config.seed + head, number)).permutation(len(part))
            shown = augment_samples(pool, order, open_augmentation(augmentation), config.seed, number)
            batches = [received.pop(0) for _ in range(data.steps)]
            images, targets, weights = (np.concatenate(parts) for parts in zip(*batches, strict=True))
            assert np.array_equal(images, shown.images)
            assert np.array_equal(targets, shown.targets[:, mine])
            assert (weights > 0).all()
            drawn = draw(open_augmentation(augmentation), part.rows, config.seed, number)
            counted.count(drawn, len(part))
        counted.epochs[("edema", "mass", "effusion")[head] if config.heads == "per-label" else "shared"] = 2
    assert received == []

    order = np.random.default_rng((config.seed, 1)).permutation(len(part))[:EXAMPLES]
    counted.examples = part.samples["id"].iloc[order].tolist()
    assert open_receipt(run).describe() == counted.describe()
    import cv2

    picture = cv2.imread(str(run.path / EXAMPLES_FILE), cv2.IMREAD_UNCHANGED).reshape(-1, 8 * shape[1] + 14, shape[2])
    first = augment_samples(pool, order, open_augmentation(augmentation), config.seed, 1).images
    assert np.array_equal(picture[:, :, ::-1], example_strip(pool.images(order), first))


@pytest.mark.slow
def test_a_recipe_that_is_changed_later_changes_no_run(home):
    tiny = write_dataset()
    save_augmentation("mine", Augmentation((Step("rotate", p=1),)))
    run = create_run(make_config({"dataset": "tiny", "architecture": "fcnn-1", "augmentation": "mine"}), tiny)
    save_augmentation("mine", Augmentation((Step("cutout", p=1),)), replace=True)
    from medwb.training import __main__ as training

    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("signal.signal", lambda *arguments: None)
        patch.setattr("medwb.training.train_network.train_network", lambda run, data, reporter: seen.append(data))
        training.train(run)
    assert [step.transform for step in seen[0].augmentation.steps] == ["rotate"]
