import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from conftest import LABELS, finish_run
from streamlit.testing.v1 import AppTest

import medwb.launch as launching
from medwb.audit import run_audit
from medwb.config import RunConfig
from medwb.dataset import Dataset, allocate_images, dataset_names, new_dataset, open_dataset, save_dataset
from medwb.runs import Run, list_runs

DASHBOARD = Path(__file__).parent.parent / "dashboard"
PAGES = sorted(path.name for path in (DASHBOARD / "app_pages").glob("*.py"))
TABS = ["Images", "Labels", "Pixels", "Import"]
AUDIT_TABS = ["Checks", "Copies", "Radius", "Contradictions", "Leaks", "Ceiling", "Labels", "Cleaning"]


@pytest.fixture(autouse=True)
def served(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dashboard's folder on the path, as `streamlit run` puts it there, with empty caches and no worker."""
    monkeypatch.syspath_prepend(str(DASHBOARD))
    monkeypatch.setattr(launching, "start_worker", lambda: None)
    st.cache_data.clear()
    st.cache_resource.clear()


def open_page(name: str, **query: str) -> AppTest:
    app = AppTest.from_file(str(DASHBOARD / "app.py"), default_timeout=60)
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    if name != PAGES[0]:
        app.switch_page(f"app_pages/{name}").run()
    assert not app.exception, app.exception[0].stack_trace
    return app


def page(stem: str) -> str:
    return next(name for name in PAGES if name.endswith(f"_{stem}.py"))


def markdown(app: AppTest) -> str:
    """All text that the page shows through elements that read Markdown."""
    kinds = ("title", "header", "subheader", "markdown", "caption", "error", "warning", "info", "success")
    return "\n".join(str(element.value) for kind in kinds for element in getattr(app, kind))


def test_every_page_file_is_in_the_menu():
    assert PAGES
    assert all(re.fullmatch(r"\d\d_[a-z_]+\.py", name) for name in PAGES)


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_an_empty_workbench_tells_what_to_do_first(name):
    app = open_page(name)
    assert {"medwb demo", "medwb import /path/to/scans --name mine"} <= {code.value for code in app.code}
    assert any("demo" in button.label for button in app.button)


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_without_runs(name, tiny):
    app = open_page(name)
    assert not app.error
    assert app.title[0].value


@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_with_finished_runs(name, finished):
    app = open_page(name)
    assert not app.error
    assert app.title[0].value


@pytest.mark.slow
@pytest.mark.parametrize("tab", TABS)
def test_a_tab_of_explore_is_in_the_address(tab, tiny):
    app = open_page(page("explore"), tab=tab)
    assert not app.error
    assert [t.label for t in app.tabs] == TABS


def test_the_demo_dataset_can_be_written_from_the_page(monkeypatch):
    import controls

    monkeypatch.setattr(controls, "DEMO_SAMPLES", 60)
    app = open_page(PAGES[0])
    next(button for button in app.button if "demo" in button.label).click().run()
    assert not app.exception
    assert dataset_names() == ["demo"]
    assert app.title[0].value == "Explore"


def test_the_dataset_is_in_the_address(tiny):
    from conftest import write_dataset

    write_dataset("another", samples=60)
    assert open_page(PAGES[0]).selectbox(key="dataset").value == "another"
    assert open_page(PAGES[0], dataset="tiny").selectbox(key="dataset").value == "tiny"
    assert open_page(PAGES[0], dataset="nowhere").selectbox(key="dataset").value == "another"


def test_a_damaged_dataset_is_named_without_a_traceback(tiny):
    (tiny.path / "samples.parquet").unlink()
    assert "damaged" in open_page(PAGES[0]).error[0].value


def test_filters_leave_the_samples_that_pass(tiny):
    app = open_page(page("explore"), split="train", positive=LABELS[0], negative=LABELS[1])
    known = tiny.split("train").labels
    count = int(((known[:, 0] == 1) & (known[:, 1] == 0)).sum())
    assert any(f"{count:,} of {len(tiny):,} samples" in caption.value for caption in app.caption)


def test_no_sample_passes(tiny):
    app = open_page(page("explore"), id="no such id")
    assert "No sample passes" in app.info[0].value


def test_a_page_number_out_of_range_goes_to_the_last_page(tiny):
    app = open_page(page("explore"), view="Table", page="6")
    app.text_input(key="id").set_value("0001").run()
    assert not app.exception
    assert any("1 of" in caption.value for caption in app.caption)


def test_switching_the_dataset_forgets_labels_that_it_does_not_have(tiny, home):
    write_hostile()
    app = open_page(page("explore"), dataset="tiny", positive=LABELS[0])
    app.selectbox(key="dataset").set_value("hostile").run()
    assert not app.exception
    assert any("8 of 8 samples" in caption.value for caption in app.caption)


def test_the_sample_in_the_address_is_shown(tiny):
    app = open_page(page("explore"), sample="0005.png")
    record = next(frame.value for frame in app.dataframe if "field" in frame.value)
    assert record["value"][0] == "0005.png"
    assert set(record["field"]) >= {"id", "split", "group", "found as", *LABELS}


def write_hostile() -> Dataset:
    """Eight samples whose labels, ids and groups are Markdown, HTML and directives."""
    labels = ("<b>bold</b>", "**stars**", ":red[x] $y$")
    table = pd.DataFrame(np.tile([0.0, 1.0], (3, 4)).T, columns=labels)
    table["id"] = [f"<script>{row}</script>_![i](http://x/{row})" for row in range(8)]
    table["split"] = ["train"] * 4 + ["val"] * 4
    table["group"] = ["# g"] * 4 + ["- h"] * 4
    with new_dataset("hostile") as folder:
        images = allocate_images(folder / "images.npy", (8, 64, 64, 3))
        save_dataset(folder, table, labels, images, format="csv", source="<i>s</i>", ingest={"read": 8})
    return open_dataset("hostile")


@pytest.mark.parametrize(
    ("name", "tab"),
    [(name, "") for name in PAGES]
    + [
        pytest.param(name, tab, marks=pytest.mark.slow)
        for name, tabs in (("01_explore.py", TABS), ("02_audit.py", AUDIT_TABS))
        for tab in tabs
    ],
)
def test_text_of_a_dataset_is_never_markup(name, tab):
    data = write_hostile()
    if name == "02_audit.py":
        run_audit(data)
    run = finish_run(data, architecture="fcnn-1")
    run.update_status(collapsed=True)
    other = finish_run(data, architecture="fcnn-1", seed=1)
    other.update_status(state="failed", error="<b>bold</b> **stars** :red[x]")
    app = open_page(name, tab=tab, audit=tab)
    assert not re.search(r"(?<!\\)<(b|script|i)\b|\*\*stars|(?<!\\):red\[|!\[i\]", markdown(app)), markdown(app)


def test_plain_text_is_what_it_was():
    import controls

    assert controls.plain("a1 b") == "a1 b"
    assert controls.plain("<b>*x*</b>") == r"\<b\>\*x\*\</b\>"
    assert controls.plain("a\nb") == "a b"


def test_every_setting_has_an_input(tiny):
    app = open_page(page("train"))
    app.multiselect(key="architectures").set_value(["cnn-1"]).run()
    kinds = ("selectbox", "number_input", "toggle", "text_input")
    inputs = {element.key for kind in kinds for element in getattr(app, kind)}
    skipped = {"dataset", "architecture", "seed"}
    assert {input_key(name) for name in RunConfig.model_fields if name not in skipped} <= inputs


def test_a_recipe_sets_the_inputs_and_what_is_changed_goes_before_it(tiny):
    app = open_page(page("train"))
    app.multiselect(key="architectures").set_value(["cnn-1"]).run()
    app.selectbox(key="config-recipe").set_value("reference").run()
    assert app.selectbox(key=input_key("schedule", "reference")).value == "constant"
    app.selectbox(key=input_key("schedule", "reference")).set_value("linear").run()
    press_launch(app)
    assert not app.exception
    (run,) = list_runs()
    assert (run.config.recipe, run.config.schedule, run.config.initializer) == ("reference", "linear", "glorot")


def input_key(name: str, recipe: str = "stable") -> str:
    import controls

    return controls.config_key(name, None if name == "recipe" else recipe)


def test_the_diagram_follows_the_choice(tiny):
    app = open_page(page("train"))
    app.multiselect(key="architectures").set_value(["fcnn-1", "cnn-2"]).run()
    assert not app.exception
    assert app.selectbox(key="diagram").value == "cnn-2"


def press_launch(app: AppTest) -> AppTest:
    return next(button for button in app.button if button.label == "Launch").click().run()


def test_launch_queues_what_was_chosen(tiny):
    app = open_page(page("train"))
    app.multiselect(key="architectures").set_value(["fcnn-1", "prevalence"]).run()
    app.text_input(key="seeds").set_value("0, 7").run()
    app.number_input(key=input_key("epochs")).set_value(1).run()
    press_launch(app)
    assert not app.exception
    assert not app.error
    made = sorted((run.config.architecture, run.config.seed, run.config.epochs) for run in list_runs("tiny"))
    assert made == [("fcnn-1", 0, 1), ("fcnn-1", 7, 1), ("prevalence", 0, 10)]
    assert sum(button.label == "Remove" for button in app.button) == 3


@pytest.mark.parametrize(("seeds", "message"), [("0,x", "not whole numbers"), ("1,1", "repeat"), ("-1", "seed")])
def test_a_wrong_request_is_explained(tiny, seeds, message):
    app = open_page(page("train"))
    app.multiselect(key="architectures").set_value(["fcnn-1"]).run()
    app.text_input(key="seeds").set_value(seeds).run()
    press_launch(app)
    assert not app.exception
    assert message in app.error[0].value.replace("\\", "")
    assert not list_runs()


def test_a_network_that_the_scans_are_too_small_for_is_explained(tiny):
    app = open_page(page("train"))
    app.multiselect(key="architectures").set_value(["cnn-5"]).run()
    app.number_input(key="config-image_size").set_value(8).run()
    press_launch(app)
    assert not app.exception
    assert "cannot take 8 x 8" in app.error[0].value.replace("\\", "")


def test_a_queued_run_can_be_stopped(tiny):
    app = open_page(page("train"))
    app.multiselect(key="architectures").set_value(["fcnn-1"]).run()
    press_launch(app)
    next(button for button in app.button if button.label == "Remove").click().run()
    assert not app.exception
    assert list_runs()[0].state == "stopped"


def test_progress_estimate_error_and_collapse_are_shown(tiny, finished):
    running = finish_run(tiny, architecture="fcnn-1", seed=3, recipe="reference")
    running.update_status(state="queued")
    assert running.claim()
    running.update_status(done=30, total=120, epoch=3, eta=75.0)
    failed = finish_run(tiny, architecture="fcnn-1", seed=4)
    failed.update_status(state="failed", error="the loss is nan")
    finished[0].update_status(collapsed=True)
    app = open_page(page("train"))
    assert "the loss is nan" in app.error[0].value
    assert "collapsed" in app.warning[0].value
    bars = [bar.proto.text.replace("\\", "") for bar in app.get("progress")]
    assert any("at most 1 min 15 s left" in text for text in bars)


def test_compare_without_runs_leads_to_train(tiny):
    app = open_page(page("compare"))
    assert "Train one first" in app.info[0].value


def test_compare_shows_every_row_with_its_interval(finished):
    app = open_page(page("compare"))
    table = next(frame.value for frame in app.dataframe if "Macro F1" in frame.value)
    assert len(table) == 3
    assert all(re.fullmatch(r"\d\.\d{3} \[\d\.\d{3}, \d\.\d{3}\]", cell) for cell in table["Macro F1"])
    assert table["Runs"].tolist().count(2) == 1


def test_compare_is_scored_again_when_a_run_is_added(tiny, finished):
    def rows() -> int:
        return len(next(frame.value for frame in open_page(page("compare")).dataframe if "Macro F1" in frame.value))

    before = rows()
    finish_run(tiny, architecture="cnn-1")
    assert rows() == before + 1


def test_runs_of_other_data_are_left_out_with_a_note(tiny, finished):
    record = (finished[2].path / "config.json").read_text()
    (finished[2].path / "config.json").write_text(record.replace(tiny.fingerprint, "f" * 16))
    assert any("left out" in warning.value for warning in open_page(page("compare")).warning)


def submission_page(sample: Path) -> AppTest:
    app = open_page(page("submit"))
    return app.text_input(key="sample-path").set_value(str(sample)).run()


def test_a_submission_is_built(tiny, finished, tmp_path):
    sample = tmp_path / "sample_submission.csv"
    ids = tiny.split("test").samples["id"]
    pd.DataFrame({"id": ids, **dict.fromkeys(LABELS, 0)}).to_csv(sample, index=False)
    app = submission_page(sample)
    assert not app.exception
    assert not app.error
    assert any("Threshold" in frame.value for frame in app.dataframe)
    assert any(f"{len(ids):,} rows" in caption.value for caption in app.caption)


@pytest.mark.slow
@pytest.mark.parametrize("content", ["id,edema\n0001.png,0\n", "", None])
def test_a_sample_that_does_not_fit_is_explained(finished, tmp_path, content):
    sample = tmp_path / "sample.csv"
    if content is not None:
        sample.write_text(content)
    app = submission_page(sample)
    assert not app.exception
    assert app.error


def test_the_slider_of_a_param_gives_values_that_it_accepts():
    from medwb.params import Param

    def script() -> None:
        import controls
        import streamlit as st

        from medwb.params import Param

        st.text(controls.param_slider(Param("degrees", -90, 90, 10, 5, "Turn."), "a"))
        st.text(controls.param_slider(Param("share", 0, 1, 0.5, 0.05, "Share."), "b"))

    app = AppTest.from_function(script).run()
    assert not app.exception
    assert [text.value for text in app.text] == ["10", "0.5"]
    assert Param("share", 0, 1, 0.5, 0.05, "Share.").check(app.slider(key="b").set_value(0.35).run().slider[1].value)


@pytest.mark.slow
def test_the_server_never_loads_tensorflow(finished, tmp_path):
    run_audit(open_dataset("tiny"))
    script = tmp_path / "every_page.py"
    script.write_text(
        "import sys\n"
        "from streamlit.testing.v1 import AppTest\n"
        f"sys.path.insert(0, {str(DASHBOARD)!r})\n"
        f"for name in {PAGES!r}:\n"
        f"    app = AppTest.from_file({str(DASHBOARD / 'app.py')!r}, default_timeout=60).run()\n"
        "    app.switch_page('app_pages/' + name).run()\n"
        "    assert not app.exception\n"
        "print(*[name for name in ('tensorflow', 'keras', 'sklearn', 'cleanlab') if name in sys.modules])\n"
    )
    answer = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == ""


def test_run_is_named_by_what_tells_it_apart(finished: list[Run]):
    import run_panel

    assert len({run_panel.run_title(run) for run in finished}) == len(finished)
    assert "seed 1" in run_panel.run_title(finished[1])
