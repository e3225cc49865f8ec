import json
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from conftest import finish_run, write_dataset
from sklearn.metrics import roc_auc_score

from medwb.augment import TRANSFORMS, Augmentation, Pool, Step, augment_samples
from medwb.augment.preservation import (
    CAVEAT,
    FILE,
    Point,
    Preservation,
    Sweep,
    measure_preservation,
    open_preservation,
)
from medwb.augment.sliders import MOST_VALUES, every_step, label_keeping_steps, magnitudes, sliders_of
from medwb.config import make_config
from medwb.dataset import Dataset
from medwb.errors import RequestError
from medwb.params import OneOf, Param, ends
from medwb.paths import write_text
from medwb.runs import Run, create_run
from medwb.statistics import Score, bootstrap_weights
from medwb.strict_json import dump_json

SHAPES = [(16, 16, 1), (28, 28, 1), (24, 32, 3)]
NOT_MIXING = [entry.name for entry in TRANSFORMS if entry.family != "mix"]
FITTING = [
    (name, shape) for name in NOT_MIXING for shape in SHAPES if shape[2] == 3 or not TRANSFORMS.get(name).colour
]


def look(images: np.ndarray) -> np.ndarray:
    """Scores of a reader who knows how `write_dataset` draws: a bright top, a bright left side, a bright centre."""
    pixels = images[..., 0].astype(np.float32) / 255
    middle = pixels[:, 6:10, 6:10].mean((1, 2))
    rest = pixels[:, 4:, 4:].mean((1, 2))
    parts = [pixels[:, :4, 4:].mean((1, 2)) - rest, pixels[:, 4:, :4].mean((1, 2)) - rest, middle - rest]
    return np.clip(0.5 + np.stack(parts, axis=1), 0, 1).astype(np.float32)


@pytest.fixture
def run(tiny: Dataset) -> Run:
    return finish_run(tiny)


@pytest.fixture
def measure(run, tiny):
    return partial(measure_preservation, run, tiny, scores=look, draws=100)


def test_a_finding_is_lost_where_it_is_moved_away(measure, run, tiny):
    found = measure([Step("rotate", {"degrees": (-90, 90)}), Step("gamma"), Step("flip-up-down")])
    rotate, gamma, flip = found.sweeps
    assert (rotate.param, gamma.param, flip.param) == ("degrees", "gamma", "p")
    assert {-180, -90, 0, 90, 180} <= {point.value for point in rotate.points}
    assert {point.value: point.harmed for point in rotate.points}[0] == ()
    for value in (-180, 180):
        assert {point.value: point.harmed for point in rotate.points}[value] == ("edema", "mass")
    low, high = rotate.safe()
    assert -90 < low < 0 < high < 90
    assert rotate.safe("effusion") == (-180, 180)  # the centre stays in the centre
    assert gamma.safe() == (gamma.points[0].value, gamma.points[-1].value)  # order is kept, so AUC is
    assert flip.safe() == (0, 0)
    assert flip.safe("mass") == (0, 1)
    assert open_preservation(run) == found


def test_the_figures_are_those_of_the_augmented_scans(measure, tiny):
    found = measure([Step("shift", {"right": (-10, 30), "border": "black"})], seed=5)
    part, table = tiny.split("val"), found.table()
    pool, truth = Pool.of(part), part.labels
    weights = bootstrap_weights(part.samples["group"].to_numpy(str), 100)
    positions = np.arange(len(part))
    unchanged = look(part.images[part.rows])
    for value in (0.0, 30.0):
        step = Step("shift", {"right": value, "down": 0, "border": "black"}, p=1)
        score = look(augment_samples(pool, positions, Augmentation((step,)), 5, 0).images)
        for column, label in enumerate(tiny.label_names):
            at = (table["param"] == "right") & (table["value"] == value) & (table["label"] == label)
            (row,) = table[at].to_dict("records")
            auc = [roc_auc_score(truth[:, column], s[:, column]) for s in (score, unchanged)]
            drawn = [
                [roc_auc_score(truth[:, column], s[:, column], sample_weight=w) for w in weights]
                for s in (score, unchanged)
            ]
            assert (row["auc"], row["base"]) == pytest.approx(auc)
            assert (row["low"], row["high"]) == pytest.approx(np.percentile(drawn[0], [2.5, 97.5]))
            assert (row["base_low"], row["base_high"]) == pytest.approx(np.percentile(drawn[1], [2.5, 97.5]))
            paired = np.subtract(drawn[0], drawn[1])
            assert row["difference"] == pytest.approx(auc[0] - auc[1])
            assert (row["difference_low"], row["difference_high"]) == pytest.approx(
                np.percentile(paired, [2.5, 97.5])
            )
    neutral = table[table["value"] == 0]
    assert (neutral[["difference", "difference_low", "difference_high"]] == 0).all(axis=None)
    assert (table["harmed"] == (table["auc"] < table["base_low"])).all()
    assert table["harmed"].any()
    assert (table["lower"] == (table["difference_high"] < 0)).all()
    assert table["lower"].any()


def test_the_same_seed_gives_the_same_and_scans_are_limited(measure):
    steps = [Step("cutout"), Step("gaussian-noise")]
    first = measure(steps, samples=30, seed=1)
    assert first == measure(steps, samples=30, seed=1)
    assert {one.samples for one in first.sweeps} == {30}
    assert not first.table().equals(measure(steps, samples=30, seed=2).table())


def test_labels_that_cannot_be_tested_are_named(tiny, run, measure):
    part = (tiny.samples["split"] == "val").to_numpy()
    samples = tiny.samples.copy()
    samples.loc[part & (samples["mass"] == 1), "mass"] = np.nan
    samples.loc[part, "effusion"] = np.float32(np.random.default_rng(0).integers(0, 2, part.sum()))
    changed = replace(tiny, samples=samples)
    found = measure_preservation(run, changed, [Step("flip-up-down")], scores=look, draws=100)
    (sweep,) = found.sweeps
    assert sweep.left_out == {"mass": "no positive among the 48 scans"}
    assert set(sweep.base) == {"edema", "effusion"}
    notes = found.notes()
    assert notes[0] == "mass is left out: no positive among the 48 scans"
    assert notes[1].startswith("effusion cannot be harmed: the run hardly tells it apart, AUC ")
    nothing = replace(tiny, samples=samples.assign(edema=np.float32(1), mass=np.nan, effusion=np.float32(0)))
    with pytest.raises(RequestError, match="no label has a positive and a negative among 48 validation scans"):
        measure_preservation(run, nothing, [Step("flip-up-down")], scores=look)


def test_samples_with_an_unknown_label_do_not_count_for_it(tiny, run):
    samples = tiny.samples.copy()
    val = samples.index[(samples["split"] == "val").to_numpy()]
    samples.loc[val[::2], "edema"] = np.nan
    changed = replace(tiny, samples=samples)
    found = measure_preservation(run, changed, [Step("flip-up-down")], scores=look, draws=100)
    known = tiny.split("val").subset(np.arange(48) % 2 == 1)
    expected = roc_auc_score(known.labels[:, 0], look(known.images[known.rows])[:, 0])
    assert found.sweeps[0].base["edema"].value == pytest.approx(expected)


def test_what_is_kept_is_strict_json_a_slider_each(measure, run):
    assert open_preservation(run).sweeps == ()
    measure([Step("rotate"), Step("gamma")], seed=1)
    first = open_preservation(run)
    measure([Step("gamma"), Step("cutout"), Step("cutout", {"size": (50, 60)})], seed=2)
    kept = open_preservation(run)
    assert [(one.transform, one.seed) for one in kept.sweeps] == [("rotate", 1), ("gamma", 2), ("cutout", 2)]
    assert kept.sweeps[0] == first.sweeps[0]
    assert {50, 60} <= {point.value for point in kept.sweeps[2].points}  # both steps' ends, in one sweep

    def refuse(word: str) -> None:
        raise AssertionError(word)

    facts = json.loads((run.path / FILE).read_text(), parse_constant=refuse)
    assert facts["caveat"] == CAVEAT
    assert facts["sweeps"][0]["safe"] == list(first.sweeps[0].safe())
    points = zip(facts["sweeps"][0]["points"], first.sweeps[0].points, strict=True)
    assert all(point["lower"] == list(kept_point.lower) for point, kept_point in points)
    assert [path.name for path in run.path.iterdir() if "partial" in path.name] == []
    run.update_status(epoch=9)  # trained further: what was found is about another network
    assert open_preservation(run).sweeps == ()


def test_tests_of_one_run_at_a_time_keep_each_others_sweeps(measure, run, monkeypatch):
    both_have_read = threading.Barrier(2)

    def slow(run: Run) -> Preservation:
        found = open_preservation(run)
        with suppress(threading.BrokenBarrierError):  # the second has to wait until the first has written
            both_have_read.wait(0.3)
        return found

    monkeypatch.setattr("medwb.augment.preservation.open_preservation", slow)
    names = ["gamma", "flip-up-down"]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda name: measure([Step(name)]), names))
    assert {one.transform for one in open_preservation(run).sweeps} == set(names)


@pytest.mark.parametrize(
    "change",
    [
        lambda facts: "{",
        lambda facts: "[]",
        lambda facts: json.dumps({"sweeps": [{}]}),
        lambda facts: json.dumps({"sweeps": 3}),
        lambda facts: json.dumps({"sweeps": [facts["sweeps"][0] | {"neutral": 17}]}),
        lambda facts: json.dumps({"sweeps": [facts["sweeps"][0] | {"base": {}}]}),
        lambda facts: json.dumps({"sweeps": [facts["sweeps"][0] | {"points": [{"value": "x"}]}]}),
        lambda facts: json.dumps({"sweeps": [facts["sweeps"][0] | {"settings": []}]}),
    ],
    ids=range(8),
)
def test_a_damaged_file_is_one_line(measure, run, change):
    measure([Step("gamma")])
    path = run.path / FILE
    path.write_text(change(json.loads(path.read_text())))
    with pytest.raises(RequestError, match=r"preservation.json is damaged .* test again"):
        open_preservation(run)
    measure([Step("gamma")])
    assert len(open_preservation(run).sweeps) == 1


def test_progress_counts_up_and_stopping_keeps_what_was_there(measure, run):
    seen = []
    before = measure([Step("gamma")], progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1] == 48 * (1 + len(before.sweeps[0].points))

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure([Step("gamma")], seed=8, progress=stop)
    assert open_preservation(run) == before


def test_a_sweep_is_found_for_the_step_that_it_is_about(measure):
    found = measure([Step("shear", {"x": (0, 0.2), "y": (0.1, 0.2)})])
    for setting in (0, (0.1, 0.4), OneOf((0.1, 0.3))):
        step = Step("shear", {"x": setting, "y": (-0.1, 0.3)})
        assert found.sweep(step, "x").param == "x"
        assert found.sweep(step, "y").quiet == ("x",)  # whatever x is, it did nothing
    assert found.sweep(Step("shear", {"border": "black"}), "x") is None
    assert found.sweep(Step("rotate"), "degrees") is None
    assert found.sweep(Step("shear"), "p") is None


def test_wrong_requests(tiny, run, measure, home):
    with pytest.raises(RequestError, match="'tiny' has changed since run"):
        measure_preservation(run, replace(tiny, fingerprint="0"), [Step("gamma")], scores=look)
    with pytest.raises(RequestError, match="samples 0 is out of range"):
        measure([Step("gamma")], samples=0)
    colour = next(entry.name for entry in TRANSFORMS if entry.colour)
    with pytest.raises(RequestError, match="changes colours, and the scans are grey"):
        measure([Step(colour)])
    with pytest.raises(RequestError, match="cannot score scans"):
        measure_preservation(run, tiny, [Step("gamma")])
    baseline = create_run(make_config({"dataset": "tiny", "architecture": "k-nn"}), tiny)
    with pytest.raises(RequestError, match="k-nn is a baseline"):
        measure_preservation(baseline, tiny, [Step("gamma")])


def test_scans_are_tested_as_the_network_sees_them(home):
    dataset = write_dataset("grey", 60, 16)
    run = finish_run(dataset, channels=3, image_size=24)
    shapes = set()

    def score(images: np.ndarray) -> np.ndarray:
        shapes.add(images.shape[1:])
        return look(images)

    colour = next(entry.name for entry in TRANSFORMS if entry.colour)
    found = measure_preservation(run, dataset, [Step(colour)], scores=score, draws=100)
    assert shapes == {(24, 24, 3)}
    assert found.sweeps


def test_mixing_steps_and_those_that_are_off_are_left_out():
    mixing = next(entry.name for entry in TRANSFORMS if entry.family == "mix")
    steps, notes = label_keeping_steps(Augmentation((Step("rotate"), Step("gamma", enabled=False), Step(mixing))))
    assert steps == [Step("rotate")]
    (note,) = notes
    assert note.startswith(f"{mixing} is left out: it mixes labels")
    grey, colour = ({step.transform for step in every_step((16, 16, channels))} for channels in (1, 3))
    assert colour == set(NOT_MIXING)
    assert colour - grey == {entry.name for entry in TRANSFORMS if entry.colour}


def test_a_label_is_lower_where_the_difference_is_certain():
    base, unsure = Score(0.916, 0.854, 0.969), Score(0.93, 0.9, 0.95)
    lost = {"a": Score(-0.047, -0.068, -0.027), "b": Score(-0.02, -0.05, 0.01), "c": Score(0.1, math.nan, math.nan)}
    point = Point(1, {label: Score(0.868, 0.8, 0.93) for label in lost}, lost, ())
    assert point.lower == ("a",)
    one = Sweep("rotate", "degrees", (), {}, 1, {"a": base, "b": unsure, "c": base}, (point,), 9, 0, {}, 1)
    (note,) = Preservation("run", (one, one)).notes()
    assert note.startswith("a, c: the AUC without augmentation has an interval wider than 0.1")
    assert note.endswith("see where the AUC is lower than unchanged")
    assert Preservation("run", (replace(one, base={"b": unsure}),)).notes() == []


def sweep(harmed: dict[float, tuple[str, ...]], neutral: float) -> Sweep:
    score = Score(0.5, 0.4, 0.6)
    points = tuple(Point(value, {"a": score, "b": score}, {}, lost) for value, lost in harmed.items())
    return Sweep("rotate", "degrees", (), {}, neutral, {"a": score, "b": score}, points, 9, 0, {}, 1)


@pytest.mark.parametrize(
    ("harmed", "safe", "safe_a"),
    [
        ({-2: (), -1: (), 0: (), 1: ()}, (-2, 1), (-2, 1)),
        ({-2: (), -1: ("b",), 0: (), 1: ()}, (0, 1), (-2, 1)),
        ({-2: ("a",), -1: (), 0: (), 1: ("a", "b")}, (-1, 0), (-1, 0)),
        ({-2: (), -1: (), 0: ("b",), 1: ()}, None, (-2, 1)),
        ({0: (), 1: (), 2: ("a",), 3: ()}, (0, 1), (0, 1)),
        ({0: ()}, (0, 0), (0, 0)),
    ],
)
def test_safe_is_the_interval_about_neutral_without_harm(harmed, safe, safe_a):
    found = sweep(harmed, 0)
    assert found.safe() == safe
    assert found.safe("a") == safe_a


@pytest.mark.parametrize(("name", "shape"), FITTING)
def test_sliders_of_every_transform(name, shape):
    entry = TRANSFORMS.get(name)
    step = Step(name)
    sliders = sliders_of([step, step], shape)
    assert sliders
    assert {slider.param for slider in sliders} <= {param.name for param in entry.params} | {"p"}
    params = {param.name: param for param in entry.params}
    for slider in sliders:
        assert slider.neutral in slider.values
        assert slider.values == sorted(set(slider.values))
        for value in slider.values:
            assert slider.at(value).enabled
        if slider.param == "p":
            assert slider.values == [0, 1]
            continue
        param = params[slider.param]
        assert slider.values[0] == param.low
        assert slider.values[-1] == param.high
        assert set(ends(step.settings[param.name])) <= set(slider.values)
        assert 2 <= len(slider.values) <= 12


@pytest.mark.parametrize(
    ("step", "param", "neutral", "quiet"),
    [
        (Step("rotate"), "degrees", 0, ()),
        (Step("scale"), "x", 1, ("y",)),
        (Step("shift"), "down", 0, ("right",)),
        (Step("crop"), "keep", 100, ()),
        (Step("pad"), "share", 0, ()),
        (Step("gamma"), "gamma", 1, ()),
        (Step("brightness-contrast"), "contrast", 0, ("brightness",)),
        (Step("cutout"), "size", 0, ()),
        (Step("elastic"), "shift", 0, ()),
    ],
)
def test_neutral_is_found_by_trying(step, param, neutral, quiet):
    (slider,) = (one for one in sliders_of([step], (64, 64, 1)) if one.param == param)
    assert slider.neutral == neutral
    assert slider.quiet == quiet


def test_every_value_of_which_one_is_drawn_is_looked_at():
    (slider,) = sliders_of([Step("rotate", {"degrees": OneOf((90, -3.7, 0.1, 90))})], (16, 16, 1))
    assert {-3.7, 0.1, 90} <= set(slider.values)
    many = tuple(float(value) for value in range(-100, 101))
    (slider,) = sliders_of([Step("rotate", {"degrees": OneOf(many)})], (16, 16, 1))
    assert {-100, 100} <= set(slider.values)
    assert MOST_VALUES <= len(slider.values) <= MOST_VALUES + 12


def test_a_number_that_does_nothing_has_no_slider():
    together = Step("scale", {"axes": "together"})
    assert [slider.param for slider in sliders_of([together], (32, 32, 1))] == ["x"]


def test_positions_lie_closer_near_neutral_and_hold_the_steps_own_ends():
    param = Param("degrees", -180, 180, -10, 0.5, "", until=10)
    values = magnitudes(param, 0, (-10, 10))
    assert values == [-180, -101, -45, -10, 0, 10, 45, 101, 180]
    one_sided = magnitudes(Param("share", 0, 100, 0, 1, ""), 0)
    assert len(one_sided) == 9
    assert np.all(np.diff(np.diff(one_sided)) >= -1)
    assert magnitudes(Param("few", 1, 3, 1, 1, ""), 1) == [1, 2, 3]


def test_an_undefined_score_survives_the_file(run):
    one = sweep({0: (), 1: ()}, 0)
    hollow = Score(0.5, math.nan, math.nan)
    points = tuple(point._replace(auc={"a": hollow}, difference={"a": hollow}) for point in one.points)
    one = replace(one, base={"a": hollow}, points=points, epoch=run.status()["epoch"])

    write_text(run.path / FILE, dump_json(Preservation(run.id, (one,)).describe()))
    (back,) = open_preservation(run).sweeps
    assert back.base["a"].value == 0.5
    assert math.isnan(back.points[1].difference["a"].low)
