"""Explore: what is in a dataset."""

import browser
import controls
import loaders
import streamlit as st

from medwb import plots
from medwb.gallery import INTENSITY_SAMPLES

data = controls.current_dataset()
key = (data.name, data.fingerprint)
colours = plots.label_colours(data.label_names)

st.title("Explore")
browser.dataset_facts(data)
images, labels, pixels, origin = st.tabs(["Images", "Labels", "Pixels", "Import"], key="tab", bind="query-params")

if images.open:
    with images:
        browser.image_browser(data)

if labels.open:
    with labels:
        unit = st.segmented_control(
            "Bars", ["share", "count"], default="share", required=True, key="bars", bind="query-params"
        )
        st.plotly_chart(plots.label_prevalence(loaders.counts(*key), unit=unit), key="prevalence")
        sets, pairs = st.columns(2) if len(data.label_names) <= 6 else (st.container(), st.container())
        with sets:
            st.subheader("Label combinations")
            st.plotly_chart(plots.label_sets(loaders.label_sets(*key)), key="sets")
        with pairs:
            st.subheader("Labels that occur together")
            conditional = st.toggle("As a share of the row's positives, %", key="conditional", bind="query-params")
            matrix = plots.cooccurrence_counts(data, conditional=conditional)
            st.plotly_chart(plots.cooccurrence(matrix, conditional=conditional), key="pairs")

if pixels.open:
    with pixels:
        browser.mean_pictures(data)
        st.subheader("Intensities")
        by = st.segmented_control(
            "By", ["split", "label"], default="split", required=True, key="by", bind="query-params"
        )
        table = loaders.intensities(*key, by)
        st.plotly_chart(plots.intensity_histograms(table, plots.SPLIT_COLOURS | colours), key="intensities")
        st.caption(f"Measured on {min(len(data), INTENSITY_SAMPLES):,} samples, spread evenly over the dataset.")

if origin.open:
    with origin:
        browser.import_record(data)
