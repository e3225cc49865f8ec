import json

import numpy as np
import pytest
from conftest import finish_run, write_dataset
from test_audit_leaks import audited, make_dataset

from medwb.audit.cleaning import make_cleaning, remove_cleaning, save_cleaning
from medwb.augment import TRANSFORMS, Augmentation, Step, remove_augmentation, save_augmentation
from medwb.config import make_config
from medwb.dataset import open_dataset
from medwb.errors import RequestError
from medwb.paths import augmentations_dir, write_text
from medwb.runs import create_run, damaged_runs, finished_runs, list_runs, open_run
from medwb.studies.arms import existing_runs
from medwb.table import f1_table


def queued(dataset, **settings):
    return create_run(make_config({"dataset": dataset.name, "architecture": "fcnn-1", **settings}), dataset)


def test_a_run_records_what_it_takes_to_trace_it(tiny):
    run = queued(tiny, epochs=3)
    record = json.loads((run.path / "config.json").read_text())
    assert record["config"]["epochs"] == 3
    assert record["dataset"]["fingerprint"] == tiny.fingerprint
    assert set(record["versions"]) >= {"medwb", "keras", "tensorflow", "numpy"}
    assert record["git_commit"] is None or len(record["git_commit"]) >= 40
    assert run.state == "queued"
    assert open_run(run.id).config == run.config


def test_runs_are_listed_in_the_order_in_which_they_were_made(tiny):
    made = [queued(tiny, architecture=name).id for name in ("rnn-1", "fcnn-2", "fcnn-1")]
    assert [run.id for run in list_runs("tiny")] == made
    assert list_runs("other") == []


def test_unknown_run(tiny):
    with pytest.raises(RequestError, match="unknown run 'x'"):
        open_run("x")


@pytest.mark.parametrize(
    "content", ["", "{", '{"config": {"epochs": 0}}', "[]", '{"config": {"dataset": "a", "epoch": 1}}']
)
def test_a_damaged_config_is_left_out_of_lists_and_named_when_opened(tiny, content):
    run = queued(tiny)
    write_text(run.path / "config.json", content)
    assert list_runs() == []
    with pytest.raises(RequestError, match=r"config\.json"):
        _ = open_run(run.id).config


def test_predictions_come_back(tiny):
    run = finish_run(tiny)
    answer = run.predictions("val")
    part = tiny.split("val")
    assert answer.ids.tolist() == part.samples["id"].tolist()
    assert np.array_equal(answer.y_true, part.labels)
    assert run.predicted_splits() == ["train", "val", "test"]


def test_missing_and_damaged_predictions_are_named(tiny):
    run = queued(tiny)
    with pytest.raises(RequestError, match="has no predictions yet; it is queued"):
        run.predictions("val")
    run = finish_run(tiny)
    path = run.path / "predictions.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RequestError, match=r"predictions\.npz is damaged"):
        run.predictions("val")


def test_pickled_predictions_are_never_loaded(tiny):
    run = finish_run(tiny)
    np.savez(run.path / "predictions.npz", val_id=np.array([{}], dtype=object))
    with pytest.raises(RequestError, match="damaged"):
        run.predictions("val")


def test_runs_on_changed_data_are_stale(tiny):
    run = finish_run(tiny)
    assert finished_runs(tiny) == ([run], [])
    changed = write_dataset("other", seed=1)
    (run.path / "config.json").write_text((run.path / "config.json").read_text().replace(tiny.fingerprint, "0" * 16))
    fresh, stale = finished_runs(tiny)
    assert (len(fresh), len(stale)) == (0, 1)
    assert finished_runs(changed) == ([], [])


def test_a_dataset_without_labels_to_learn_is_refused(home):
    import pandas as pd

    tiny = write_dataset()
    table = pd.read_parquet(tiny.path / "samples.parquet")
    table.loc[table["split"] == "val", ["edema", "mass", "effusion"]] = np.nan
    table.to_parquet(tiny.path / "samples.parquet", index=False)
    with pytest.raises(RequestError, match="no labelled val split"):
        queued(open_dataset("tiny"))
    assert list_runs() == []


def test_a_network_too_large_for_the_scans_is_refused_before_it_is_queued(tiny):
    with pytest.raises(RequestError, match="cnn-4 cannot take 16 x 16 pixels"):
        queued(tiny, architecture="cnn-4")


def test_damaged_configs_are_named_where_they_lie(tiny):
    fine, damaged = queued(tiny), queued(tiny)
    write_text(damaged.path / "config.json", "{")
    assert list(damaged_runs()) == [damaged.id]
    assert "config.json is damaged" in damaged_runs()[damaged.id]
    assert list_runs() == [fine]


def test_a_config_that_is_changed_is_read_anew(tiny):
    run = queued(tiny, epochs=3)
    assert open_run(run.id).config.epochs == 3
    record = json.loads((run.path / "config.json").read_text())
    record["config"]["epochs"] = 4
    (run.path / "config.json").write_text(json.dumps(record))
    assert open_run(run.id).config.epochs == 4


def test_the_end_of_a_long_log_is_read_alone(tiny):
    run = queued(tiny)
    assert run.log_tail() == ""
    (run.path / "log.txt").write_text("".join(f"line {number}\n" for number in range(100_000)))
    assert run.log_tail(2) == "line 99998\nline 99999"


@pytest.fixture
def disputed(home):
    """A dataset of which two train samples contradict one another."""
    return make_dataset("aabcdefg", "ttttvvee", [0, 1] * 4)


def clean(dataset, *policies, **settings):
    cleaning = make_cleaning(audited(dataset), policies, **settings)
    save_cleaning(cleaning)
    return cleaning


def test_a_run_records_its_cleaning(disputed):
    cleaning = clean(disputed, "keep-one-soft")
    record = json.loads((queued(disputed, cleaning="keep-one-soft").path / "config.json").read_text())
    assert record["config"]["cleaning"] == "keep-one-soft"
    assert record["cleaning"]["digest"] == cleaning.digest == record["certificate"]["cleaning"]
    assert record["cleaning"]["excluded"] == {"train": 1, "val": 0, "test": 0}
    assert record["cleaning"]["labels"]["train"] == 1
    assert record["dataset"]["fingerprint"] == disputed.fingerprint
    assert queued(disputed).record["cleaning"] is None


def test_a_cleaning_that_is_not_there_is_refused_with_the_way_out(disputed):
    with pytest.raises(RequestError, match=r"there is no cleaning of made yet; `medwb clean made --policy POLICY`"):
        queued(disputed, cleaning="keep-one-soft")
    clean(disputed, "keep-one-soft")
    with pytest.raises(RequestError, match="did you mean keep-one-soft"):
        queued(disputed, cleaning="keep-one-sof")
    remove_cleaning(disputed, "keep-one-soft")
    assert list_runs() == []


def test_a_stale_cleaning_is_refused(disputed):
    clean(disputed, "keep-one-soft")
    facts = disputed.path / "dataset.json"
    facts.write_text(facts.read_text().replace(disputed.fingerprint, "0" * 16))
    with pytest.raises(RequestError, match="cleaning 'keep-one-soft' is stale"):
        queued(open_dataset("made"), cleaning="keep-one-soft")


def test_baselines_cannot_learn_from_shares_of_votes(disputed):
    clean(disputed, "keep-one-soft")
    with pytest.raises(RequestError, match="svc cannot learn from the cleaning 'keep-one-soft'"):
        queued(disputed, architecture="svc", cleaning="keep-one-soft")
    clean(disputed, "keep-one-negative")
    assert queued(disputed, architecture="svc", cleaning="keep-one-negative").record["cleaning"]["soft"] is False


def test_a_cleaning_that_leaves_nothing_to_learn_is_refused(home):
    dataset = make_dataset("aabc", "ttvv", [0, 1, 0, 1])
    clean(dataset, "drop-contradictions")
    with pytest.raises(RequestError, match="no labelled train split after the cleaning 'drop-contradictions'"):
        queued(dataset, cleaning="drop-contradictions")


def keep(name, *steps, replace=False):
    augmentation = Augmentation(steps, "why")
    save_augmentation(name, augmentation, replace=replace)
    return augmentation


def test_a_run_records_its_augmentation_and_keeps_it(tiny):
    then = keep("mine", Step("rotate", {"degrees": (-5, 5)}), Step("shear", enabled=False))
    run = queued(tiny, augmentation="mine")
    keep("mine", Step("rotate", {"degrees": (-90, 90)}), replace=True)
    record = json.loads((run.path / "config.json").read_text())["augmentation"]
    assert record == {"name": "mine", "digest": then.digest, **then.describe()}
    again = open_run(run.id)
    assert again.augmentation == then
    assert again.augmentation_digest == then.digest
    remove_augmentation("mine")
    assert open_run(run.id).augmentation == then


def test_a_run_without_augmentation_records_none(tiny):
    run = queued(tiny)
    assert run.record["augmentation"] is None
    assert run.augmentation == Augmentation()
    assert run.augmentation_digest == ""
    old = json.loads((run.path / "config.json").read_text())  # from before there was augmentation
    del old["augmentation"], old["config"]["augmentation"]
    (run.path / "config.json").write_text(json.dumps(old))
    assert open_run(run.id).augmentation == Augmentation()
    assert open_run(run.id).augmentation_digest == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record["steps"].pop(), "was changed after the run was made"),
        (lambda record: record["steps"][0].update(p=0.9), "was changed after the run was made"),
        (lambda record: record["steps"][0].update(transform="rotat"), "did you mean rotate"),
        (lambda record: record.pop("steps"), "holds no augmentation"),
    ],
)
def test_a_record_that_was_changed_is_refused(tiny, change, message):
    keep("mine", Step("rotate"), Step("cutout"))
    run = queued(tiny, augmentation="mine")
    record = json.loads((run.path / "config.json").read_text())
    change(record["augmentation"])
    (run.path / "config.json").write_text(json.dumps(record))
    with pytest.raises(RequestError, match=rf"run {run.id}: the augmentation in config\.json.*{message}"):
        _ = open_run(run.id).augmentation


def test_augmentations_that_do_not_suit_are_refused_before_a_run_is_made(tiny):
    with pytest.raises(RequestError, match="unknown augmentation 'studdy'; did you mean study"):
        queued(tiny, augmentation="studdy")
    (colour, *_) = [entry.name for entry in TRANSFORMS if entry.colour]
    keep("colourful", Step(colour))
    with pytest.raises(RequestError, match=r"augmentation 'colourful': step 1 .* the scans are grey"):
        queued(tiny, augmentation="colourful")
    assert queued(tiny, augmentation="colourful", channels=3).augmentation.steps[0].transform == colour
    augmentations_dir().joinpath("broken.yaml").write_text("steps: [")
    with pytest.raises(RequestError, match=r"broken\.yaml is no readable YAML"):
        queued(tiny, augmentation="broken")
    assert len(list_runs()) == 1


def test_runs_under_two_recipes_of_one_name_are_told_apart(tiny):
    keep("mine", Step("rotate", p=1))
    first = finish_run(tiny, 0.2, seed=0, augmentation="mine")
    keep("mine", Step("cutout", p=1), replace=True)
    second = finish_run(tiny, 0.2, seed=1, augmentation="mine")
    assert f1_table(tiny, draws=20).rows["runs"].tolist() == [1, 1]
    assert list(existing_runs([first.config, second.config], tiny).values()) == [second]
