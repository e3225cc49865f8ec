"""The panel that shows which pixels an answer rests on."""

import controls
import explain_job
import explain_loaders
import numpy as np
import streamlit as st
from audit_pictures import lines, short

from medwb.config import input_shape
from medwb.dataset import Dataset
from medwb.errors import RequestError
from medwb.gallery import enlarge
from medwb.images import Pixels
from medwb.inspection import check_inspectable
from medwb.progress import Progress
from medwb.runs import Run
from medwb.saliency import Saliency, explain, hardest, methods_for, overlay, scans_of
from medwb.saliency_methods import SALIENCY_METHODS

_JOB = "saliency-job"
_PICTURE, _GAP = 120, 6  # pixels on the page


def saliency_panel(data: Dataset, run: Run, split: str, sample_id: str | None, label: str) -> None:
    """Choose methods; see their maps of one scan, or of the scans that the run is most wrong about.

    Args:
        data: The picked dataset.
        run: A finished run on it.
        split: Where the hardest scans are looked for.
        sample_id: One scan; None for the hardest.
        label: What is explained.
    """
    try:
        check_inspectable(run, data, answers_only=True)
    except RequestError as error:
        st.info(controls.plain(error), icon=":material/visibility_off:")
        return
    reasons = methods_for(run)
    usable = [name for name, reason in reasons.items() if not reason]
    picked, many = st.columns([3, 1], vertical_alignment="bottom")
    chosen = picked.pills(
        "Methods",
        usable,
        selection_mode="multi",
        default=usable[:1],
        format_func=lambda name: SALIENCY_METHODS.get(name).title,
        key="saliency-methods",
        bind="query-params",
    )
    for reason in dict.fromkeys(reason for reason in reasons.values() if reason):
        st.caption(controls.plain(reason[:1].upper() + reason[1:] + "."))
    count = 1
    if sample_id is None:
        count = many.selectbox("Hardest scans", [4, 8, 16], key="saliency-count", bind="query-params")
    if not chosen:
        st.info("Choose a method.", icon=":material/center_focus_strong:")
        return
    try:
        ids = [sample_id] if sample_id is not None else hardest(run, split, label, count)
    except RequestError as error:
        controls.refuse(error)
        return
    found = {name: _kept(run, name, label, ids) for name in chosen}
    missing = [name for name, one in found.items() if len(one.ids) < len(ids)]
    of = (run.id, label, *ids, *missing)
    if missing and not explain_job.wait(_JOB, of):
        titles = ", ".join(SALIENCY_METHODS.get(name).title for name in missing)
        scans = "this scan" if sample_id is not None else f"{len(ids)} scans"
        if st.button(
            f"Explain {scans}: {titles}", type="primary", icon=":material/center_focus_strong:", key="explain"
        ):

            def work(progress: Progress) -> None:
                explain(run, {label: ids}, missing, dataset=data, progress=progress)

            explain_job.start(_JOB, of, work)
        st.caption("A process of its own does it, in seconds to minutes; the maps are kept with the run.")
    shown = {name: one for name, one in found.items() if len(one.ids) == len(ids)}
    if shown:
        _show(data, run, label, ids, shown)


def _kept(run: Run, method: str, label: str, ids: list[str]) -> Saliency:
    return explain_loaders.maps(run.id, method, label, explain_loaders.maps_stamp(run, method, label)).take(ids)


def _show(data: Dataset, run: Run, label: str, ids: list[str], found: dict[str, Saliency]) -> None:
    images = scans_of(data, ids, input_shape(run.config, data))
    captions = _captions(data, run, label, ids)
    parts = [images.repeat(3, axis=3) if images.shape[3] == 1 else images]
    parts += [overlay(images, one.maps) for one in found.values()]
    titles = [SALIENCY_METHODS.get(name).title for name in found]
    st.markdown(f"**{controls.plain(' · '.join(['Scan', *titles]))}**")
    st.image(list(_side_by_side(parts)), captions, width=_PICTURE * len(parts), output_format="PNG")
    for one in found.values():
        st.caption(controls.plain(one.sentence()))
    st.caption(
        "The same order in each picture. Orange speaks for the label, blue against it; each picture has its own "
        "scale. A map shows what the network used, not where a finding is. The rank correlation compares a map with "
        "that of the same network with random weights: when it is high, the map would look so without any learning."
    )


def _side_by_side(parts: list[Pixels]) -> Pixels:
    """The parts of each scan, uint8 (N, H, W, 3) each, beside one another, transparent between: (N, H', W', 4)."""
    scale = max(1, 2 * _PICTURE // max(parts[0].shape[1:3]))
    pieces = list[Pixels]()
    for part in parts:
        large = enlarge(part, scale)
        alpha = np.full((*large.shape[:3], 1), 255, np.uint8)
        gap = np.zeros((*large.shape[:2], 2 * _GAP * (1 if part is not parts[-1] else 4), 4), np.uint8)
        pieces += [np.concatenate([large, alpha], axis=3), gap]
    return np.concatenate(pieces, axis=2)


def _captions(data: Dataset, run: Run, label: str, ids: list[str]) -> list[str]:
    rows = data.samples.set_index("id").reindex(ids)
    index, scores = run.label_names.index(label), dict[str, float]()
    try:
        for split in set(rows["split"]) & set(run.predicted_splits()):
            answer = run.predictions(split)
            scores |= dict(zip(answer.ids.tolist(), answer.y_score[:, index].tolist(), strict=True))
    except RequestError:
        pass  # the page has said so
    words = np.select([rows[label] == 1, rows[label] == 0], ["positive", "negative"], "unknown")
    return [
        lines(short(name), f"{word}, score {scores[name]:.3f}" if name in scores else word)
        for name, word in zip(ids, words, strict=True)
    ]
