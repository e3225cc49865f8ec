"""The frame: page config, dataset picker, navigation. `streamlit run dashboard/app.py` from the project's folder."""

from pathlib import Path

import controls
import loaders
import streamlit as st

FOLDER = Path(__file__).parent
icon = str(FOLDER / "icon.png")  # a file, because browsers fetch named icons from the internet
st.set_page_config(page_title="medwb", page_icon=icon, layout="wide", initial_sidebar_state=240)
loaders.freeze_imports()

files = sorted((FOLDER / "app_pages").glob("[0-9]*_*.py"))
names = [file.stem.split("_", 1)[1] for file in files]
pages = [
    st.Page(file, title=name.replace("_", " ").capitalize(), url_path=name, default=index == 0)
    for index, (file, name) in enumerate(zip(files, names, strict=True))
]
page = st.navigation(pages)
controls.dataset_picker()
page.run()
