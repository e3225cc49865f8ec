"""Every notebook runs from top to bottom on a small demo, in the order of their numbers."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from medwb.demo import write_demo

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def demo_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for all notebooks: 05 compares what 04 trained."""
    home = tmp_path_factory.mktemp("notebooks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDWB_HOME", str(home))
        write_demo("demo", samples=900)
    return home


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_from_top_to_bottom(path, demo_home, monkeypatch):
    monkeypatch.setenv("MEDWB_HOME", str(demo_home))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}}).execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.output_type != "error"
            assert "Warning" not in output.get("text", ""), output["text"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_written_to_be_read(path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert notebook.cells[0].cell_type == "markdown"
    assert code[0].source == 'DATASET = "demo"'
    for cell in code:
        assert not cell.outputs, "outputs are not committed: run nbstripout"
        assert cell.execution_count is None
        assert len(cell.source.splitlines()) <= 10
        assert not re.search(r"^\s*(def|class) ", cell.source, re.M), "functions belong into medwb"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_has_the_number_of_its_page(path):
    pages = {page.stem for page in (path.parent.parent / "dashboard" / "app_pages").glob("*.py")}
    assert path.stem in pages
