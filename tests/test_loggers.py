"""What MLflow and TensorBoard are told, read back with their own readers."""

import json
import logging
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

from medwb.config import make_config
from medwb.runs import create_run
from medwb.training import loggers
from medwb.training.loggers import _Aside, _key, _one_line, loggers_for, read_events

pytestmark = pytest.mark.slow  # loads MLflow

SCORES = {"train_loss": 0.5, "train_f1": 0.25, "val_loss": 0.75, "val_f1": 0.125}


def row(epoch, head="shared", **changes):
    return {"head": head, "epoch": epoch, "learning_rate": 0.001, **SCORES, "seconds": 1.0, **changes}


def write_history(run, rows):
    pd.DataFrame(rows).to_csv(run.path / "history.csv", index=False)


@pytest.fixture
def run(tiny, monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MEDWB_TENSORBOARD"):
        monkeypatch.delenv(name, raising=False)
    for name in ("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        monkeypatch.setenv(name, "1")
    return create_run(make_config({"dataset": "tiny", "architecture": "fcnn-1", "epochs": 3}), tiny)


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory):
    """A SQLite MLflow without a run; to make one takes seconds."""
    from mlflow.tracking import MlflowClient

    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def database(tmp_path, monkeypatch, empty_database):
    """A SQLite MLflow, and a client that reads it."""
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)

    def client():
        from mlflow.tracking import MlflowClient

        return MlflowClient(uri)

    return client


def tell(run, rows, status=None, artifacts=(), facts=None):
    (logger,) = loggers_for(run)
    logger.start(run.config.model_dump(), facts or {})
    for each in rows:
        logger.epoch(each)
    logger.finish(status or {"state": "finished"}, artifacts)


def metrics(client, run_id):
    found = client.get_run(run_id).data.metrics
    return {key: [(m.step, m.value) for m in client.get_metric_history(run_id, key)] for key in found}


def test_nobody_is_told_unless_asked(run, monkeypatch):
    assert loggers_for(run) == []
    monkeypatch.setenv("MEDWB_TENSORBOARD", "0")
    assert loggers_for(run) == []


def test_importing_the_loggers_loads_neither_mlflow_nor_tensorflow():
    code = "import medwb.training.loggers, sys; print('mlflow' in sys.modules, 'tensorflow' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "False"]


def test_mlflow_gets_parameters_tags_metrics_and_artifacts(run, database, home, caplog):
    (run.path / "log.txt").write_text("a line\n")
    artifacts = [run.path / "config.json", run.path / "log.txt", run.path / "model.onnx"]
    first, second = row(1), row(2, val_f1=float("nan"), note="words", flag=True, nothing=None)
    status = {"state": "finished", "collapsed_labels": ["mass"], "train_seconds": 2.5}
    handlers = list(logging.getLogger().handlers)
    tell(run, [first, second, row(1, "edema: 2+/x")], status, artifacts, {"cores": 2, "recipe": {"a": 1}})
    assert logging.getLogger().handlers == handlers
    assert "left out" not in caplog.text
    client, known = database(), run.status()["mlflow_run"]
    found = client.get_run(known)
    assert found.info.run_name == run.id
    assert found.info.status == "FINISHED"
    config = run.config.model_dump()
    assert set(found.data.params) == set(config)
    assert found.data.params["architecture"] == "fcnn-1"
    assert json.loads(found.data.params["learning_rate"]) == config["learning_rate"]
    tags = {key: value for key, value in found.data.tags.items() if key.startswith("medwb.")}
    assert tags == {
        "medwb.run": run.id,
        "medwb.dataset": "tiny",
        "medwb.fingerprint": run.fingerprint,
        "medwb.seed": "0",
        "medwb.git_commit": run.record["git_commit"] or "unknown",
        "medwb.cores": "2",
        "medwb.recipe": '{"a": 1}',
        "medwb.state": "finished",
        "medwb.collapsed_labels": '["mass"]',
        "medwb.train_seconds": "2.5",
    }
    histories = metrics(client, known)
    assert histories["shared/train_loss"] == [(1, 0.5), (2, 0.5)]
    assert histories["shared/val_f1"] == [(1, 0.125)]
    assert histories["edema_ 2__x/val_f1"] == [(1, 0.125)]
    assert not [key for key in histories if key.endswith(("/note", "/flag", "/nothing", "/epoch", "/head"))]
    assert {file.path for file in client.list_artifacts(known)} == {"config.json", "log.txt"}
    assert found.info.artifact_uri.startswith((home / "mlflow-artifacts").as_uri())
    assert (home / "mlflow-artifacts" / known / "artifacts" / "log.txt").read_text() == "a line\n"


def test_a_resumed_run_is_one_run_in_mlflow_and_no_epoch_stands_there_twice_or_never(run, database):
    write_history(run, [row(1)])
    tell(run, [row(1)], {"state": "stopped"})
    client, known = database(), run.status()["mlflow_run"]
    assert client.get_run(known).info.status == "KILLED"
    # Epoch 2 was over, but a kill came before MLflow heard of it, and before the checkpoint: it is trained again.
    write_history(run, [row(1), row(2)])
    tell(run, [row(2), row(3)])
    assert run.status()["mlflow_run"] == known
    assert client.get_run(known).info.status == "FINISHED"
    assert len(client.search_runs([client.get_run(known).info.experiment_id])) == 1
    histories = metrics(client, known)
    assert {step for step, _ in histories["shared/val_loss"]} == {1, 2, 3}
    assert all(len(history) == 3 for history in histories.values())


def test_a_run_that_starts_from_the_beginning_is_another_run_in_mlflow(run, database):
    tell(run, [row(1)], {"state": "failed", "error": "out of memory"})
    client, known = database(), run.status()["mlflow_run"]
    assert client.get_run(known).info.status == "FAILED"
    assert client.get_run(known).data.tags["medwb.error"] == "out of memory"
    tell(run, [row(1, val_f1=0.5)])
    assert run.status()["mlflow_run"] != known
    assert metrics(client, run.status()["mlflow_run"])["shared/val_f1"] == [(1, 0.5)]


def test_a_run_that_mlflow_lost_is_made_again(run, database):
    run.update_status(mlflow_run="0" * 32)
    write_history(run, [row(1)])
    tell(run, [row(2)])
    assert metrics(database(), run.status()["mlflow_run"])["shared/val_f1"] == [(1, 0.125), (2, 0.125)]


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite:////proc/no/such/folder.db",
        "file:///tmp/medwb-no-such-store",
        "http://user:secret@127.0.0.1:9",
        "nonsense",
    ],
)
def test_a_broken_address_is_one_warning_and_no_failure(run, monkeypatch, caplog, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    started = time.monotonic()
    tell(run, [row(1), row(2)])
    assert time.monotonic() - started < 30
    warnings = [record for record in caplog.records if record.name == "root"]
    assert len(warnings) == 1
    assert "MLflow is left out from here on" in warnings[0].message
    assert "secret" not in warnings[0].message
    assert "mlflow_run" not in run.status()


def test_a_missing_extra_is_one_warning_with_the_way_out(run, monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///never.db")
    for name in [name for name in sys.modules if name == "mlflow" or name.startswith("mlflow.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    tell(run, [row(1)])
    assert 'pip install "medwb[mlflow]"' in caplog.text


def test_a_logger_that_raises_half_way_is_dropped_and_the_rest_goes_on(caplog):
    told = []

    class Fragile:
        def start(self, config, facts):
            told.append("start")

        def epoch(self, row):
            told.append(row["epoch"])
            raise OSError("no space\non the device")

        def finish(self, status, artifacts):
            told.append("finish")

    logger = _Aside("Fragile", Fragile)
    logger.start({}, {})
    logger.epoch({"epoch": 1})
    logger.epoch({"epoch": 2})
    logger.finish({}, [])
    assert told == ["start", 1]
    assert [record.message for record in caplog.records] == ["Fragile is left out from here on: OSError: no space"]


def test_a_slow_logger_stalls_nothing(caplog, monkeypatch):
    monkeypatch.setattr(loggers, "_FINISH_WITHIN_S", 0.2)
    free = threading.Event()

    class Slow:
        def start(self, config, facts):
            free.wait(30)

        epoch = finish = start

    logger, started = _Aside("Slow", Slow), time.monotonic()
    logger.start({}, {})
    logger.epoch({"epoch": 1})
    logger.finish({}, [])
    assert time.monotonic() - started < 5
    assert "Slow is too slow" in caplog.text
    free.set()


def test_a_row_that_is_changed_afterwards_is_told_as_it_was():
    told, hold = [], threading.Event()

    class Keeps:
        def epoch(self, row):
            hold.wait(10)
            told.append(row["epoch"])

        def finish(self, status, artifacts):
            pass

    logger, given = _Aside("Keeps", Keeps), {"epoch": 1}
    logger.epoch(given)
    given["epoch"] = 99
    hold.set()
    logger.finish({}, [])
    assert told == [1]


@pytest.mark.parametrize(
    ("head", "key"), [("shared", "shared"), ("a/b", "a_b"), ("..", "__"), ("größe", "größe"), (" ", "_")]
)
def test_heads_become_names_that_mlflow_allows(head, key):
    assert _key(head) == key


def test_a_warning_holds_no_password():
    assert _one_line(OSError("cannot reach https://me:pw@host/x\nmore")) == "OSError: cannot reach https://***@host/x"


@pytest.mark.slow
def test_three_processes_that_make_the_database_at_once_all_write_to_it(tiny, database, tmp_path):
    (tmp_path / "mlflow.db").unlink()
    config = make_config({"dataset": "tiny", "architecture": "prevalence"})
    runs = [create_run(config, tiny) for _ in range(3)]
    code = (
        "import sys, logging; logging.basicConfig(level=logging.WARNING)\n"
        "from pathlib import Path; from medwb.runs import Run; from medwb.training import loggers\n"
        "loggers._FINISH_WITHIN_S = 200\n"
        "run = Run(Path(sys.argv[1])); (logger,) = loggers.loggers_for(run)\n"
        "logger.start(run.config.model_dump(), {}); logger.finish({'state': 'finished'}, [])\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(run.path)]) for run in runs]
    assert [process.wait(200) for process in processes] == [0, 0, 0]
    client = database()
    assert {client.get_run(run.status()["mlflow_run"]).info.run_name for run in runs} == {run.id for run in runs}


def events(folder: Path):
    found = {}
    for part in ("train", "val"):
        for file in sorted((folder / part).glob("events.out.tfevents.*")):
            for tag, step, value in read_events(file):
                found.setdefault((part, tag), []).append((step, round(value, 6)))
    return found


@pytest.mark.slow
def test_tensorboard_gets_scalars_and_a_resumed_run_appends(run, monkeypatch, tmp_path):
    monkeypatch.setenv("MEDWB_TENSORBOARD", "1")
    write_history(run, [row(1)])
    tell(run, [row(1, val_f1=float("nan"))])
    folder = run.path / "tensorboard"
    assert events(folder)["train", "shared/loss"] == [(1, 0.5)]
    # What a kill in the midst of writing leaves behind is no reason to fail, or to write epoch 1 again.
    (torn,) = (folder / "val").glob("events.out.tfevents.*")
    with torn.open("ab") as file:
        file.write(b"\x30\x00\x00\x00\x00\x00\x00\x00torn")
    write_history(run, [row(1), row(2)])
    tell(run, [row(2), row(3), row(1, "mass")])
    found = events(folder)
    assert found["train", "shared/loss"] == [(1, 0.5), (2, 0.5), (3, 0.5)]
    assert found["val", "shared/f1"] == [(1, 0.125), (2, 0.125), (3, 0.125)]
    assert found["val", "mass/loss"] == [(1, 0.75)]
    assert found["train", "shared/learning_rate"] == [(1, 0.001), (2, 0.001), (3, 0.001)]
    (run.path / "history.csv").unlink()  # from the beginning
    tell(run, [row(1, train_loss=2.0)])
    assert events(folder)["train", "shared/loss"] == [(1, 2.0)]
    monkeypatch.setenv("MEDWB_TENSORBOARD", str(tmp_path / "boards"))
    tell(run, [row(1)])
    assert events(tmp_path / "boards" / run.id)["val", "shared/loss"] == [(1, 0.75)]


@pytest.mark.slow
def test_a_folder_that_tensorboard_cannot_write_is_one_warning(run, monkeypatch, caplog, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MEDWB_TENSORBOARD", str(tmp_path / "file"))
    tell(run, [row(1)])
    assert "TensorBoard is left out from here on" in caplog.text
