"""What a trained run still recognises along a step's sliders: the test, its chart, and the red parts of tracks."""

from dataclasses import replace

import controls
import lab_recipe
import loaders
import streamlit as st
from lab_scans import Draws
from run_panel import run_title

from medwb import plots
from medwb.augment import Step
from medwb.augment.panel import Spans, label_of, setting_text, spans_of
from medwb.augment.preservation import CAVEAT, Preservation, measure_preservation
from medwb.augment.preview import Scans
from medwb.augment.recipe import PROBABILITY
from medwb.dataset import Dataset
from medwb.errors import RequestError
from medwb.plots.augment import preservation_lines
from medwb.runs import Run, finished_runs
from medwb.scoring import onnx_name

_NO_RUN = "No finished run on this dataset has a network that can score scans here (model.onnx). Train one first."


def _tested(run: Run) -> Preservation:
    """What was found of a run so far; nothing where the file cannot be read."""
    found = loaders.preservation(run.id, loaders.preservation_stamp(run.id))
    return Preservation(run.id) if isinstance(found, str) else found


def harmful(data: Dataset) -> tuple[Spans, str]:
    """Parts of the picked step's tracks where a run recognises a label less well, and that run's title.

    Of several runs the one that was tested last counts; there are no parts where none was.
    """
    recipe = lab_recipe.current()
    if not recipe.steps:
        return {}, ""
    step = recipe.steps[lab_recipe.number()]
    for run in sorted(finished_runs(data)[0], key=lambda run: loaders.preservation_stamp(run.id), reverse=True):
        if not loaders.preservation_stamp(run.id):
            break
        if spans := spans_of(_tested(run), step):
            return spans, run_title(run)
    return {}, ""


def labels(data: Dataset, scans: Scans, draws: Draws) -> None:
    """Choose a run, test the picked step with it, and see what was found."""
    recipe = lab_recipe.current()
    st.write(
        "A trained run scores validation scans that are changed by the picked step alone, along each of its sliders. "
        f"Where a label's AUC falls out of its interval, the track turns red. {CAVEAT.capitalize()}."
    )
    finished = finished_runs(data)[0]
    runs = {run.id: run for run in reversed(finished) if (run.path / onnx_name(run.config, 0)).is_file()}
    if not runs or not recipe.steps:
        text = "Add a step first." if runs else _NO_RUN if finished else "No run on this dataset has finished yet."
        st.info(text, icon=":material/rule:")
        return
    step = recipe.steps[lab_recipe.number()]
    run_column, button_column = st.columns([2.2, 1], vertical_alignment="bottom")
    picked = run_column.selectbox(
        "Run", list(runs), format_func=lambda one: run_title(runs[one]), key="tested", bind="query-params"
    )
    title = step.entry.title
    mixing = step.entry.family == "mix"
    if button_column.button(
        f"Test {title.lower()}",
        key="lab-test",
        icon=":material/rule:",
        disabled=mixing,
        width="stretch",
        help="It mixes labels with scans, so there is no answer to keep." if mixing else None,
    ):
        bar = st.progress(0.0, "Scoring scans …")
        try:
            measure_preservation(
                runs[picked], data, [step], progress=lambda done, total: bar.progress(done / max(total, 1))
            )
        except RequestError as error:
            controls.refuse(error)
            return
        st.rerun()
    _findings(data, _tested(runs[picked]), step)


def _findings(data: Dataset, found: Preservation, step: Step) -> None:
    params = (*step.entry.params, PROBABILITY)
    sweeps = {param: one for param in params if (one := found.sweep(step, param.name)) is not None}
    if not sweeps:
        st.caption("This run has not been tested with this step as it is set now.")
        return
    colours = plots.label_colours(data.label_names)
    for param, sweep in sweeps.items():
        st.subheader("Probability" if param is PROBABILITY else label_of(param.name))
        if safe := sweep.safe():
            where = controls.plain(setting_text(safe, param))
            st.write(f"No label is harmed from {where}, of the positions tested.")
        else:
            st.write("A label is harmed even where the step changes least.")
        table = replace(found, sweeps=(sweep,)).table()
        figure = preservation_lines(table, colours, param.unit, sweep.neutral)
        st.plotly_chart(figure, key=f"lab-labels-{param.name}")
    st.caption(
        "Crosses: harmed, the AUC is below the interval that it has without the step. Triangles: not harmed, but the "
        "AUC is lower than without the step on the same scans."
    )
    for note in found.notes():
        st.caption(controls.plain(note))
