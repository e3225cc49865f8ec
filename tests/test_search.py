import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import answer_with_noise

from medwb import plots
from medwb.config import make_config
from medwb.dataset import Dataset
from medwb.errors import RequestError
from medwb.runs import Run, create_run, list_runs
from medwb.studies import start_runs, study_table
from medwb.studies.search import Search, confirm_grid, confirmed, search
from medwb.studies.space import Dimension, default_space, read_space, without

SPACE = (
    Dimension("learning_rate", low=1e-4, high=1e-1, log=True),
    Dimension("optimizer", ("adam", "adamw")),
    Dimension("weight_decay", low=1e-3, high=0.1, log=True, when={"optimizer": ("adamw",)}),
    Dimension("epochs", low=1, high=3),
)


def finish(run: Run, dataset: Dataset) -> None:
    """Answers that are the better, the nearer the learning rate is to 0.01."""
    noise = 0.05 + 0.4 * abs(math.log10(run.config.learning_rate / 0.01))
    answer_with_noise(run, dataset, noise, run.config.seed)


@pytest.fixture
def trained(monkeypatch, request) -> list[str]:
    """Runs are finished as soon as they are watched; the ids of those that were trained."""
    done: list[str] = []
    if request.node.get_closest_marker("slow"):
        return done

    def watch(runs: list[Run]) -> Iterator[list[dict[str, object]]]:
        from medwb.dataset import open_dataset

        for run in runs:
            if run.state == "queued":
                done.append(run.id)
                finish(run, open_dataset(run.config.dataset))
        yield [run.status() for run in runs]

    monkeypatch.setattr("medwb.launch.start_worker", lambda: None)
    monkeypatch.setattr("medwb.launch.watch", watch)
    monkeypatch.setattr("medwb.cli.studies.watch_runs", lambda runs: list(watch(runs)))
    return done


def look(dataset: Dataset, **options: object) -> Search:
    return search(dataset, "fcnn-1", {}, **{"space": SPACE, "minutes": 5, "trials": 6, **options})


def journal(home: Path, name: str = "tiny-fcnn-1-s0") -> Path:
    return home / "searches" / name / "journal.log"


def test_each_trial_is_a_run_and_the_first_is_the_usual_one(tiny, trained, home):
    told: list[int] = []
    found = look(tiny, report=lambda row: told.append(row["number"]))
    assert found.trials["number"].tolist() == told == list(range(6))
    assert found.trials["run"].tolist() == trained == [run.id for run in list_runs()]
    assert (found.trials["state"] == "finished").all()
    assert found.trials["values"][0]["learning_rate"] == 1e-3
    assert found.trials["values"][0]["optimizer"] == "adam"
    for row in found.trials.to_dict("records"):
        config = next(run.config for run in list_runs() if run.id == row["run"])
        assert {key: getattr(config, key) for key in row["values"]} == row["values"]
        assert ("weight_decay" in row["values"]) == (row["values"]["optimizer"] == "adamw")
        assert float(f"{row['values']['learning_rate']:.3g}") == row["values"]["learning_rate"]
    assert found.best["macro_f1"] == found.trials["macro_f1"].max()
    assert "optimistic" in found.answer
    assert "not better than the usual settings before it is confirmed" in found.answer


def test_a_search_goes_on_and_proposes_what_an_unbroken_one_does(tiny, trained):
    whole = look(tiny, name="whole")
    ids = [run.id for run in list_runs()]
    parts = [look(tiny, name="parts", trials=count) for count in (1, 3, 6)]
    assert parts[-1].trials["values"].tolist() == whole.trials["values"].tolist()
    assert [run.id for run in list_runs()] == ids  # a second search of the same trains nothing
    assert parts[-1].trials["run"].tolist() == ids
    assert look(tiny, name="other", seed=1).trials["values"][1] != whole.trials["values"][1]


def test_a_trial_that_was_at_work_when_the_search_was_killed_goes_on(tiny, trained, monkeypatch, home):
    class Killed(BaseException):
        pass

    def die(runs: list[Run]) -> Iterator[list[dict[str, object]]]:
        raise Killed

    before = look(tiny, trials=2)
    with monkeypatch.context() as patch:
        patch.setattr("medwb.launch.watch", die)
        with pytest.raises(Killed):
            look(tiny, trials=4)
    assert len(list_runs()) == 3
    with journal(home).open("ab") as log:
        log.write(b'{"op_code":5,"wor')  # a line that was cut short
    list_runs()[-1].update_status(state="failed", error="the process is gone")
    found = look(tiny, trials=4)
    assert found.trials["number"].tolist() == [0, 1, 2, 3]
    assert found.trials["run"].tolist()[:2] == before.trials["run"].tolist()
    assert len(list_runs()) == 4
    assert found.trials["values"].tolist() == look(tiny, name="unbroken", trials=4).trials["values"].tolist()


def test_a_trial_that_is_there_already_is_not_trained_again(tiny, trained):
    usual = make_config({"dataset": "tiny", "architecture": "fcnn-1", "epochs": 3})
    there = create_run(usual, tiny)
    finish(there, tiny)
    space = (Dimension("epochs", low=1, high=3),)
    found = search(tiny, "fcnn-1", {}, space=space, trials=60)
    assert len(list_runs()) == 3
    assert len(trained) == 2
    assert there.id in found.trials["run"].tolist()
    assert any("proposes nothing new" in note for note in found.notes)
    assert len(found.trials) < 60


def test_a_failed_trial_is_told_and_the_search_goes_on(tiny, trained, monkeypatch):
    def fail(runs: list[Run]) -> Iterator[list[dict[str, object]]]:
        for run in runs:
            if run.config.learning_rate > 0.002:
                run.update_status(state="failed", error="the loss is nan in epoch 1")
            else:
                finish(run, tiny)
        yield [run.status() for run in runs]

    monkeypatch.setattr("medwb.launch.watch", fail)
    found = look(tiny)
    failed = found.trials[found.trials["state"] == "failed"]
    assert 0 < len(failed) < 6
    assert set(failed["reason"]) == {"the loss is nan in epoch 1"}
    assert failed["macro_f1"].isna().all()


def test_settings_that_do_not_go_together_cost_no_run(tiny, trained):
    space = (Dimension("optimizer", ("adamw", "adam")),)  # adamw needs a weight_decay
    found = search(tiny, "fcnn-1", {}, space=space, trials=30)
    assert {run.config.optimizer for run in list_runs()} == {"adam"}
    assert any("do not go together" in reason for reason in found.trials["reason"])


def test_a_search_in_which_every_trial_fails_ends(tiny, trained, monkeypatch):
    def fail(runs: list[Run]) -> Iterator[list[dict[str, object]]]:
        runs[0].update_status(state="failed", error="no memory")
        yield [runs[0].status()]

    monkeypatch.setattr("medwb.launch.watch", fail)
    found = look(tiny, trials=None)
    assert len(found.trials) == 20
    assert any("20 trials in a row have failed, the last one because no memory" in note for note in found.notes)


def test_a_launch_that_is_refused_is_no_failed_trial(tiny, trained, monkeypatch):
    def refuse(configs: object) -> list[Run]:
        raise RequestError("MEDWB_WORKERS=many is no number")

    with monkeypatch.context() as patch:
        patch.setattr("medwb.launch.launch", refuse)
        with pytest.raises(RequestError, match="MEDWB_WORKERS"):
            look(tiny)
    assert look(tiny).trials["state"].tolist() == ["finished"] * 6


def test_a_trial_is_stopped_when_the_time_is_up_and_goes_on_later(tiny, trained, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("medwb.studies.search.time.monotonic", lambda: clock[0])

    def slow(runs: list[Run]) -> Iterator[list[dict[str, object]]]:
        runs[0].update_status(state="running", pid=1, host="elsewhere", start_ticks=1)
        yield [{"state": "running"}]
        clock[0] += 90
        yield [{"state": "running"}]
        yield [run.status() for run in runs]

    with monkeypatch.context() as patch:
        patch.setattr("medwb.launch.watch", slow)
        patch.setattr("medwb.launch.stop", lambda run: run.update_status(state="stopped"))
        found = look(tiny, minutes=1)
    assert found.trials["state"].tolist() == ["open"]
    assert found.best is None
    assert found.answer == "No trial is finished."
    assert any("stopped when the time was up" in note for note in found.notes)
    again = look(tiny, trials=2)
    assert again.trials["state"].tolist() == ["finished", "finished"]
    assert len(list_runs()) == 2


def test_no_trial_is_begun_that_would_not_end_in_time(tiny, trained):
    look(tiny, trials=2)  # a second each
    assert len(look(tiny, minutes=0.9 / 60, trials=None).trials) == 2
    assert len(look(tiny, minutes=0, trials=None).trials) == 2


def test_a_search_of_that_name_that_looks_for_something_else_is_refused(tiny, trained):
    look(tiny, trials=1)
    with pytest.raises(RequestError, match="begun with another space; give a --name"):
        look(tiny, space=SPACE[:1])
    with pytest.raises(RequestError, match="begun with another settings and space"):
        search(tiny, "fcnn-1", {"epochs": 2}, space=SPACE)


def test_a_setting_is_the_same_as_text_and_as_number(tiny, trained):
    first = search(tiny, "fcnn-1", {"epochs": "2"}, space=SPACE, trials=2)
    again = search(tiny, "fcnn-1", {"epochs": 2}, space=SPACE, trials=2)
    assert again.settings == first.settings == {"epochs": 2}
    assert again.trials["run"].tolist() == first.trials["run"].tolist()


def test_one_search_is_worked_by_one_process(tiny, trained, monkeypatch):
    def nested(runs: list[Run]) -> Iterator[list[dict[str, object]]]:
        look(tiny)
        yield []

    monkeypatch.setattr("medwb.launch.watch", nested)
    with pytest.raises(RequestError, match="'tiny-fcnn-1-s0' is at work in another process"):
        look(tiny)


@pytest.mark.parametrize("text", [b"nonsense\n\n", b'{"op_code": 4}\n', b"\x00\xff\n{}\n"])
def test_a_damaged_journal_is_one_line(tiny, trained, home, text):
    look(tiny, trials=1)
    journal(home).write_bytes(text)
    with pytest.raises(RequestError, match=r"journal\.log is damaged"):
        look(tiny)
    (journal(home).parent / "search.json").write_text("[1")
    with pytest.raises(RequestError, match=r"search\.json is damaged"):
        look(tiny)


def test_the_journal_is_lines_of_json_and_nothing_is_pickled(tiny, trained, home):
    look(tiny)
    assert all(isinstance(json.loads(line), dict) for line in journal(home).read_text().splitlines())
    assert sorted(path.name for path in journal(home).parent.iterdir()) == [".lock", "journal.log", "search.json"]


def test_baselines_and_splits_without_a_positive_are_refused(tiny, trained, monkeypatch):
    with pytest.raises(RequestError, match="k-nn is a baseline, which has no settings to search"):
        search(tiny, "k-nn")
    with pytest.raises(RequestError, match="every setting of the space is given"):
        search(tiny, "fcnn-1", {"epochs": 2}, space=SPACE[3:])
    assert list_runs() == []


def test_a_given_setting_is_not_searched():
    left = [dimension.name for dimension in without(SPACE, {"optimizer": "adam"})]
    assert left == ["learning_rate", "epochs"]
    assert [d.name for d in without(SPACE, {"optimizer": "adamw"})] == ["learning_rate", "weight_decay", "epochs"]


def test_the_default_space_can_be_trained(tiny, trained):
    space = default_space(tiny)
    names = {dimension.name for dimension in space}
    wanted = {"learning_rate", "batch_size", "optimizer", "weight_decay", "warmup", "label_smoothing", "augmentation"}
    assert names >= wanted | {"schedule"}
    found = search(tiny, "fcnn-1", {"epochs": 2}, trials=12)
    assert (found.trials["state"] == "finished").all()
    assert all(run.config.epochs == 2 for run in list_runs())


def test_a_space_is_read_from_a_file(tmp_path):
    file = tmp_path / "space.yaml"
    file.write_text(
        "learning_rate: {low: 1e-4, high: 0.1, log: true}\noptimizer: [adam, adamw]\n"
        "weight_decay: {low: 0.001, high: 0.1, log: true, when: {optimizer: adamw}}\nepochs: {low: 1, high: 3}\n"
        "channels: [null, 3]\nwarmup: {low: 0, high: 0.2, step: 0.1}\n"
    )
    space = read_space(file)
    assert space[:4] == SPACE
    assert space[4].values == (None, 3)
    assert [space[5].holds(value) for value in (0.0, 0.1, 0.15, 0.2, 0.3)] == [True, True, False, True, False]
    assert [SPACE[3].holds(value) for value in (0, 1, 3, 4)] == [False, True, True, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no space"),
        ("- epochs", "holds no space"),
        ("learning_rat: [1]", "unknown setting 'learning_rat'; did you mean learning_rate"),
        ("seed: [1, 2]", "seed cannot be searched"),
        ("dataset: [a]", "dataset cannot be searched"),
        ("epochs: 5", "epochs=5 is no list"),
        ("epochs: []", "is no list of values"),
        ("epochs: [0]", "epochs=0: input should be greater than or equal to 1"),
        ("epochs: {low: 1, hihg: 3}", "unknown key 'hihg'; did you mean high"),
        ("epochs: {low: 1}", "epochs has no high"),
        ("epochs: {low: 3, high: 3}", "low=3 is not below high=3"),
        ("epochs: {low: 1, high: 9, step: 0.5}", "step=0.5 is no whole number"),
        ("epochs: {low: 1, high: 9, step: x}", "step='x' is no distance"),
        ("warmup: {low: 0, high: 0.2, log: true}", "log needs a low above 0"),
        ("warmup: {low: 0, high: 0.2, log: 3}", "log=3 is neither true nor false"),
        ("optimizer: {low: adam, high: sgd}", "is no number, so it has no range"),
        ("optimizer: [lion]", "optimizer='lion'"),
        ("epochs: {values: [1], low: 2}", "unknown key 'low'"),
        ("weight_decay: {low: 0.1, high: 0.2, when: {optimizer: adamw}}", "which is no choice that stands before it"),
        ("optimizer: [adam]\nweight_decay: {low: 0.1, high: 0.2, when: {optimizer: sgd}}", "never comes"),
        ("epochs: {low: 1, high: 2, when: adam}", "when='adam' is no setting"),
        ("epochs: [1]\nepochs: [2]", "stands there twice"),
        ("a: [", "no readable YAML"),
    ],
)
def test_a_space_that_means_nothing_is_refused(tmp_path, text, message):
    file = tmp_path / "space.yaml"
    file.write_text(text)
    with pytest.raises(RequestError) as error:
        read_space(file)
    assert message in str(error.value)
    assert str(file) in str(error.value)


def test_the_best_is_confirmed_on_new_seeds(tiny, trained):
    found = look(tiny, trials=12)
    assert found.best["macro_f1"] > found.trials["macro_f1"][0]
    grid = confirm_grid(found, tiny, 3)
    assert [config.seed for config in grid.configs[0]] == [1, 2, 3]
    assert [config.learning_rate for config in grid.configs[0]] == [1e-3] * 3
    assert {config.learning_rate for config in grid.configs[1]} == {found.best["values"]["learning_rate"]}
    runs = start_runs(grid)
    for run in runs.all_runs:
        finish(run, tiny)
    both = confirmed(found, study_table(runs, draws=200))
    assert both.confirmation.rows["verdict"].tolist() == ["reference", "better"]
    assert f"Best of 12 trials beat usual settings by {both.confirmation.rows['difference'][1]:.3f}" in both.answer
    assert "a little optimistic" in both.answer
    json.dumps(both.to_json(), allow_nan=False)


def test_what_is_usual_needs_no_confirmation(tiny, trained):
    found = look(tiny, trials=1, space=(Dimension("batch_size", (32, 16)),))
    assert confirm_grid(found, tiny, 3) is None


def test_the_command_line_searches_and_confirms(tiny, trained, medwb, tmp_path):
    file = tmp_path / "space.yaml"
    file.write_text("learning_rate: {low: 1.0e-4, high: 0.1, log: true}\n")
    arguments = ["search", "tiny", "-a", "fcnn-1", "--minutes", 5, "--trials", 8, "--space", file, "--draws", 200]
    status, out, err = medwb(*arguments, "--json")
    assert status == 0, err
    facts = json.loads(out)
    assert [row["number"] for row in facts["trials"]] == list(range(8))
    assert facts["confirmation"] is None
    assert facts["split"] == "val"
    assert "trial 7: learning_rate=" in err
    status, out, err = medwb(*arguments, "--confirm", 2)
    assert status == 0, err
    assert "best of 8 trials" in out
    assert "usual settings" in out
    assert len(trained) == 8 + 4
    status, out, _ = medwb("search", "tiny", "-a", "fcnn-1", "--minutes", 0, "--space", file, "--json")
    assert len(json.loads(out)["trials"]) == 8


def test_the_figure_shows_trials_and_the_best_so_far(tiny, trained):
    found = look(tiny)
    trials, best = plots.search_trials(found.trials).data
    assert list(trials.y) == found.trials["macro_f1"].tolist()
    assert list(best.y) == found.trials["macro_f1"].cummax().tolist()
    assert "No trial" in plots.search_trials(found.trials[:0]).layout.annotations[0].text


@pytest.mark.slow
def test_looking_at_studies_does_not_load_the_sampler():
    code = "import sys, medwb.studies, medwb.studies.search, medwb.cli; print('optuna' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


@pytest.mark.slow
def test_a_study_and_a_search_for_real(tiny, medwb):
    shared = ["--set", "epochs=2", "--draws", 200]
    arguments = ["study", "tiny", "recipe", "-a", "fcnn-1", "--seeds", "0", *shared]
    status, out, err = medwb(*arguments, "--json")
    assert status == 0, err
    facts = json.loads(out)
    assert [row["runs"] for row in facts["rows"]] == [1, 1]
    assert "could not be told apart" in facts["answer"] or " beat " in facts["answer"]
    assert "0 runs are queued, 2 were there already" in medwb(*arguments)[2]
    status, out, err = medwb("search", "tiny", "-a", "fcnn-1", "--trials", 3, "--minutes", 10, *shared, "--json")
    assert status == 0, err
    found = json.loads(out)
    assert [row["state"] for row in found["trials"]] == ["finished"] * 3
    assert found["trials"][0]["run"] in [run for row in facts["rows"] for run in row["run_ids"]]  # the usual settings
    assert all(run.state == "finished" for run in list_runs("tiny"))
