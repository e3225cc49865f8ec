import numpy as np
import pytest
from conftest import finish_run

from medwb import replicates
from medwb.dataset import open_dataset
from medwb.errors import RequestError
from medwb.metrics import METRICS, average, evaluate
from medwb.replicates import AGREEING, ScoredSplit, replicate_scores, score_runs, score_split
from medwb.runs import Predictions
from medwb.statistics import bootstrap_weights
from medwb.units import resampling_units


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    monkeypatch.setattr(replicates, "_KEPT", replicates._Kept())


def change(dataset, rows, answers):
    """Make some samples one image with these answers to the first label; returns the dataset as it then is."""
    images = np.lib.format.open_memmap(dataset.path / "images.npy", mode="r+")
    images[rows] = images[rows[0]]
    samples = dataset.samples.copy()
    samples.loc[rows, dataset.label_names[0]] = answers
    samples.to_parquet(dataset.path / "samples.parquet", index=False)
    return open_dataset(dataset.name)


def test_the_split_is_drawn_by_patients_and_sets_of_copies(tiny):
    data = change(tiny, [150, 170], [1, 0])
    scored = score_split(data, "val", draws=40)
    assert scored.units.tolist() == resampling_units(data.split("val")).tolist()
    assert scored.units[6] == scored.units[26]  # copies, of two patients
    assert scored.weights.shape == (41, 48)
    assert scored.weights.dtype == np.uint16
    assert (scored.weights[0] == 1).all()
    assert (scored.weights[1:] == bootstrap_weights(scored.units, 40)).all()
    assert np.flatnonzero(~scored.agreeing).tolist() == [6, 26]


@pytest.mark.parametrize("name", METRICS.names())
def test_replicates_are_the_metric_under_each_weighting(tiny, name):
    run, scored = finish_run(tiny, 0.4), score_split(tiny, "val", draws=130)
    answer = run.predictions("val")
    expected = evaluate(name, answer.y_true, answer.y_score, threshold=0.4, weights=scored.weights)
    found = replicate_scores(run, scored, 0.4)[name]
    assert found.shape == ((131,) if METRICS.get(name).kind == "set" else (131, 3))
    assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_blocks_of_draws_change_nothing(tiny, monkeypatch):
    run, scored = finish_run(tiny, 0.4), score_split(tiny, "val", draws=200)
    whole = replicate_scores(run, scored)
    monkeypatch.setattr(replicates, "_BLOCK_CELLS", 1)
    monkeypatch.setattr(replicates, "_KEPT", replicates._Kept())
    for name, values in replicate_scores(run, scored).items():
        assert values == pytest.approx(whole[name], abs=1e-12, nan_ok=True)


def test_samples_that_contradict_are_left_out_of_the_agreeing_score(tiny):
    data = change(tiny, [150, 151], [1, 0])
    run, scored = finish_run(data, 0.4), score_split(data, "val", draws=20)
    answer, keep = run.predictions("val"), scored.agreeing
    f1 = evaluate("f1", answer.y_true[keep], answer.y_score[keep], weights=scored.weights[:, keep])
    assert replicate_scores(run, scored)[AGREEING] == pytest.approx(average(f1, "macro"))


def test_a_threshold_a_label(tiny):
    run, scored = finish_run(tiny, 0.4), score_split(tiny, "val", draws=5)
    answer = run.predictions("val")
    limits = [0.2, 0.5, 0.8]
    expected = evaluate("f1", answer.y_true, answer.y_score, threshold=limits)
    assert replicate_scores(run, scored, limits)["f1"][0] == pytest.approx(expected[0])


def test_runs_together_are_what_each_is_alone(tiny, finished):
    scored = score_split(tiny, "val", draws=20)
    together = score_runs(finished, scored)
    replicates._KEPT = replicates._Kept()
    for run, found in zip(finished, together, strict=True):
        alone = replicate_scores(run, scored)
        assert all(np.array_equal(found[name], alone[name], equal_nan=True) for name in alone)


def test_what_was_scored_is_kept_until_something_changes(tiny):
    run, scored = finish_run(tiny, 0.4), score_split(tiny, "val", draws=20)
    first = replicate_scores(run, scored)
    assert replicate_scores(run, score_split(tiny, "val", draws=20)) is first
    assert replicate_scores(run, scored, 0.4) is not first
    assert replicate_scores(run, score_split(tiny, "val", draws=21)) is not first
    assert replicate_scores(run, score_split(tiny, "val", draws=20, seed=1)) is not first
    assert replicate_scores(run, score_split(tiny, "test", draws=20)) is not first
    answer = run.predictions("val")
    run.save_predictions({"val": Predictions(answer.ids, answer.y_true, answer.y_score[::-1])})
    assert replicate_scores(run, scored)["macro_f1"][0] != first["macro_f1"][0]
    with pytest.raises(ValueError, match="read-only"):
        first["f1"][0] = 0


def test_what_is_kept_is_bounded(tiny, finished, monkeypatch):
    scored = score_split(tiny, "val", draws=20)
    size = replicates._size(replicate_scores(finished[0], scored))
    monkeypatch.setattr(replicates, "KEPT_BYTES", 2 * size)
    for run in finished:
        replicate_scores(run, scored)
    kept = replicates._KEPT
    assert kept._bytes == 2 * size
    assert [key[0] for key in kept._entries] == [str(run.path) for run in finished[-2:]]


def test_what_is_wrong_with_a_run_stands_in_its_place(tiny, finished):
    finished[1].path.joinpath("predictions.npz").write_bytes(b"PK\x03\x04 cut off")
    finished[2].path.joinpath("predictions.npz").unlink()
    found = score_runs(finished, score_split(tiny, "val", draws=5))
    assert [isinstance(scores, RequestError) for scores in found] == [False, True, True, False]
    assert "predictions.npz is damaged" in str(found[1])
    assert "has no predictions yet" in str(found[2])
    with pytest.raises(RequestError, match="is damaged"):
        replicate_scores(finished[1], score_split(tiny, "val", draws=5))


def test_a_split_that_cannot_be_scored_is_named(tiny):
    with pytest.raises(RequestError, match="unknown split of tiny 'vall'"):
        score_split(tiny, "vall")
    with pytest.raises(RequestError, match="unknown dataset 'tony'"):
        score_split("tony", "val")


def test_the_digest_follows_the_draws_and_the_samples(tiny):
    digests = {score_split(tiny, "val", 9).digest, score_split(tiny, "val", 9, seed=1).digest}
    digests |= {score_split(tiny, "val", 8).digest, score_split(tiny, "test", 9).digest}
    digests.add(score_split(change(tiny, [150, 151], [1, 0]), "val", 9).digest)
    assert len(digests) == 5
    assert isinstance(score_split(tiny, "val", 9), ScoredSplit)
