"""Browsing a dataset: its facts, filters, a page of images as a sheet or as a table to pick from, one scan large."""

import loaders
import numpy as np
import pandas as pd
import streamlit as st

from medwb.dataset import Dataset
from medwb.gallery import contact_sheet, diverging, enlarge, shrink

SHEET_COLUMNS, SHEET_ROWS, TABLE_ROWS = 10, 8, 40
CARD_PIXELS = 320
_ANSWERS = {1.0: "positive", 0.0: "negative"}


def dataset_facts(data: Dataset) -> None:
    """A row of numbers: samples a split, groups, labels, size."""
    height, width, channels = data.image_shape
    named = data.samples["group"][data.samples["group"] != ""].nunique()
    facts = {"Samples": f"{len(data):,}"}
    facts |= {split.capitalize(): f"{(data.samples['split'] == split).sum():,}" for split in data.splits}
    facts |= {"Groups": f"{named:,}" if named else "–", "Labels": str(len(data.label_names))}
    facts["Images"] = f"{width} × {height}{' × 3' if channels == 3 else ''}"
    for column, (name, value) in zip(st.columns(len(facts)), facts.items(), strict=True):
        column.metric(name, value)


def filtered(data: Dataset) -> Dataset:
    """The samples that pass the split and label filters."""
    split_column, positive_column, negative_column, id_column = st.columns([1, 2, 2, 1.2])
    split = split_column.selectbox("Split", ["all", *data.splits], key="split", bind="query-params")
    pick = {"options": data.label_names, "placeholder": "any", "bind": "query-params"}
    positive = positive_column.multiselect("Positive for all of", key="positive", **pick)
    negative = negative_column.multiselect("Negative for all of", key="negative", **pick)
    part = id_column.text_input("Id contains", key="id", bind="query-params")
    mask = np.ones(len(data), bool) if split == "all" else (data.samples["split"] == split).to_numpy()
    for labels, answer in ((positive, 1), (negative, 0)):
        for label in labels:
            mask = mask & (data.samples[label] == answer).to_numpy()
    if part:
        mask = mask & data.samples["id"].str.contains(part, regex=False).to_numpy()
    return data.subset(mask)


def image_browser(data: Dataset) -> None:
    """Filters, a page of images as one sheet or as a table to pick from, and the picked scan."""
    shown = filtered(data)
    if not len(shown):
        st.info("No sample passes these filters.", icon=":material/filter_alt_off:")
        return
    grid, card = st.columns([1.75, 1], gap="large")
    with grid:
        bar = st.container(horizontal=True, vertical_alignment="center")
        view = bar.segmented_control(
            *("View", ["Sheet", "Table"]),
            default="Sheet",
            required=True,
            key="view",
            bind="query-params",
            label_visibility="collapsed",
        )
        size = SHEET_COLUMNS * SHEET_ROWS if view == "Sheet" else TABLE_ROWS
        with bar:
            number = page_number(-(-len(shown) // size))
        page = shown.subset(np.arange(len(shown)) // size == number - 1)
        (image_sheet if view == "Sheet" else image_table)(page)
        st.caption(
            f"{len(shown):,} of {len(data):,} samples" + (" · Table lets you pick one" if view == "Sheet" else "")
        )
    with card:
        chosen = data.samples.index[data.samples["id"] == st.query_params.get("sample", "")]
        scan_card(data, int(chosen[0] if len(chosen) else page.rows[0]))


def page_number(pages: int) -> int:
    """A pager; the page is in the address and goes back to the last one when there are fewer."""
    if st.session_state.get("page", 1) > pages:
        st.session_state["page"] = pages
    return st.pagination(pages, max_visible_pages=5, key="page", bind="query-params")


def image_sheet(page: Dataset) -> None:
    """All images of a page in one picture: quick to send and to draw."""
    sheet = contact_sheet(shrink(page.images[page.rows], loaders.THUMBNAIL), SHEET_COLUMNS, background=200)
    st.image(sheet, width="stretch", output_format="PNG", alt=f"{len(page)} scans")


def image_table(page: Dataset) -> None:
    """A page of images as rows; picking one puts its id into the address."""
    rows = tuple(page.rows.tolist())
    table = pd.DataFrame({"scan": loaders.page_thumbnails(page.name, page.fingerprint, rows)})
    table[["id", "split"]] = page.samples[["id", "split"]].to_numpy()
    table["labels"] = [positives(page, position) for position in range(len(page))]
    event = st.dataframe(
        table,
        key=f"table-{hash((page.fingerprint, rows))}",
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        row_height=60,
        height=560,
        column_config={
            "scan": st.column_config.ImageColumn("Scan", width=84),
            "id": st.column_config.TextColumn("Id", width=130),
            "split": st.column_config.TextColumn("Split", width=60),
            "labels": st.column_config.TextColumn("Positive for", width="medium"),
        },
    )
    if event.selection.rows:
        st.query_params["sample"] = page.samples["id"].iloc[event.selection.rows[0]]


def positives(data: Dataset, position: int) -> str:
    """The labels that a sample is positive for, in words."""
    values = data.labels[position]
    if np.isnan(values).all():
        return "nothing known"
    named = [name for name, value in zip(data.label_names, values, strict=True) if value == 1]
    return ", ".join(named) or "no finding"


def scan_card(data: Dataset, row: int) -> None:
    """One scan, large, with its record."""
    image = data.images[row : row + 1]
    scale = max(1, CARD_PIXELS // max(image.shape[1:3]))
    st.image(enlarge(image, scale)[0], width=CARD_PIXELS, output_format="PNG", clamp=True)
    sample = data.samples.loc[row]
    size = f"{sample['width']} × {sample['height']} px, {sample['mode']}"
    record = {"id": sample["id"], "split": sample["split"], "group": sample["group"] or "–", "found as": size}
    if sample["path"]:
        record["path"] = sample["path"]
    record |= {label: _ANSWERS.get(float(sample[label]), "unknown") for label in data.label_names}
    st.dataframe(
        pd.DataFrame({"field": list(record), "value": [str(value) for value in record.values()]}),
        hide_index=True,
        height="content" if len(record) <= 8 else 320,
        column_config={"field": st.column_config.TextColumn("Field", width=110), "value": "Value"},
    )


def mean_pictures(data: Dataset) -> None:
    """Mean image of a label's positives and negatives, and their difference."""
    label_column, split_column = st.columns(2)
    label = label_column.selectbox("Label", data.label_names, key="mean", bind="query-params")
    split = split_column.selectbox("Averaged over", [*data.splits, "all"], key="over", bind="query-params")
    means = loaders.means(data.name, data.fingerprint, None if split == "all" else split)
    index, white = data.label_names.index(label), means.brightest(label)
    difference = means.difference(label)
    spread = max(1.0, float(np.abs(np.nan_to_num(difference)).max()))
    pictures = {
        f"Mean of {means.positives[index]:,} positives": means.picture(label, "positive", white),
        f"Mean of {means.negatives[index]:,} negatives": means.picture(label, "negative", white),
        "Positives minus negatives": diverging(difference, spread),
    }
    scale = max(1, CARD_PIXELS // max(data.image_shape[:2]))
    for column, (caption, picture) in zip(st.columns(3), pictures.items(), strict=True):
        column.image(enlarge(picture, scale), caption, width="stretch", output_format="PNG")
    st.caption(
        f"White is {white:.0f} of 255. Difference: orange where positives are brighter, blue where they are darker, "
        f"full colour at {spread:.0f} of 255."
    )


def import_record(data: Dataset) -> None:
    """Where a dataset comes from, and what happened to its files."""
    record = {"Fingerprint": data.fingerprint, "Format": data.format, "Source": data.source}
    record["Folder"] = str(data.path)
    st.dataframe(
        pd.DataFrame({"field": list(record), "value": list(record.values())}),
        hide_index=True,
        column_config={"field": st.column_config.TextColumn("Field", width=110), "value": "Value"},
    )
    events = loaders.ingest_events(data.name, data.fingerprint)
    counts, listing = st.columns([1, 2.4], gap="large")
    with counts:
        st.subheader("Files by event")
        table = pd.DataFrame({"Event": list(data.ingest), "Files": list(data.ingest.values())})
        number = st.column_config.NumberColumn(format="localized")
        st.dataframe(table, hide_index=True, height="content", column_config={"Files": number})
    with listing:
        st.subheader("Events")
        if events.empty:
            st.info("This dataset was generated, not imported: there is no list of files.", icon=":material/info:")
            return
        kinds = [kind for kind in events["event"].unique() if kind != "read"]
        chosen = st.multiselect("Show", ["read", *kinds], kinds or ["read"], key="events", persist_state="session")
        shown = events[events["event"].isin(chosen)]
        st.dataframe(shown.head(1000), hide_index=True, height=300)
        st.caption(f"{min(len(shown), 1000):,} of {len(shown):,} events; the download has all {len(events):,}.")
        content = loaders.events_csv(data.name, data.fingerprint)
        st.download_button("Download CSV", content, f"{data.name}-ingest.csv", "text/csv", icon=":material/download:")
