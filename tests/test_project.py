"""What holds for the project as a whole: imports, packages, files."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
MODULES = sorted(
    str(path.relative_to(ROOT).with_suffix("")).replace("/", ".").removesuffix(".__init__")
    for path in (ROOT / "medwb").rglob("*.py")
)
TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(' '.join(sys.modules))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(process.stdout.split())


HEAVY = {"numpy", "pandas", "cv2", "tensorflow", "keras", "streamlit", "pydantic", "sklearn"}
HEAVY |= {"ray", "mlflow", "optuna"}


def test_importing_medwb_loads_nothing_heavy():
    loaded = loaded_by("import medwb")
    assert not loaded & HEAVY


def test_help_loads_nothing_heavy():
    loaded = loaded_by("import medwb.cli")
    assert not loaded & HEAVY


def test_only_training_loads_tensorflow():
    data = ["medwb.training.data"]  # the augmentation lab shows what it hands out
    light = [name for name in MODULES if not name.startswith("medwb.training.")] + data
    loaded = loaded_by("\n".join(f"import {name}" for name in light))
    assert not loaded & {"tensorflow", "keras", "streamlit"}


def imports_of(name: str) -> set[str]:
    """Modules of medwb that a module imports when it is loaded; not those inside of functions."""
    path = ROOT / name.replace(".", "/")
    tree = ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text())
    found = set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("medwb"):
            found.add(node.module)
    return found


def test_imports_flow_one_way():
    """No module imports, at load time, one that imports it; a package's own registry is the exception."""
    edges = {name: imports_of(name) for name in MODULES}

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        pending = [start]
        while pending:
            for target in edges.get(pending.pop(), ()):
                if target not in seen:
                    seen.add(target)
                    pending.append(target)
        return seen

    for name in MODULES:
        assert name not in reach(name), name


@pytest.mark.parametrize("name", [name for name in MODULES if not name.startswith("medwb.widgets")])
def test_pages_and_notebooks_are_not_imported(name):
    text = (ROOT / name.replace(".", "/")).with_suffix(".py")
    text = text if text.exists() else ROOT / name.replace(".", "/") / "__init__.py"
    assert not re.search(r"^\s*(import|from) (streamlit|dashboard|notebooks)", text.read_text(), re.M)


def test_environment_yml_lists_what_pyproject_does_each_with_its_reason():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    environment = (ROOT / "environment.yml").read_text()
    listed = yaml.safe_load(environment)["dependencies"][-1]["pip"]
    assert listed[-1] == "-e ."
    assert listed[:-1] == project["dependencies"] + project["optional-dependencies"]["dicom"]
    for line in environment.splitlines():
        if line.strip().startswith("- ") and "conda-forge" not in line and not line.strip().endswith("pip:"):
            assert re.search(r"#\s*\w+", line), f"no reason given: {line}"
    for line in (ROOT / "pyproject.toml").read_text().splitlines():
        if re.match(r'\s+"[a-z0-9-]+[=<>]', line):
            assert re.search(r"#\s*\w+", line), f"no reason given: {line}"


def test_the_lock_pins_everything_with_hashes_and_names_no_host():
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    assert "--index" not in lock
    pins = re.findall(r"^([a-z0-9._-]+)==", lock, re.M)
    assert len(pins) > 100
    assert lock.count("--hash=sha256:") > len(pins)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    for requirement in wanted:
        assert re.match(r"[A-Za-z0-9-]+", requirement)[0].lower() in pins, requirement


@pytest.mark.skipif(not TRACKED, reason="not a git checkout")
def test_tracked_files_are_small_and_hold_no_data():
    assert "uv.lock" not in TRACKED
    for name in TRACKED:
        assert (ROOT / name).stat().st_size < 1_000_000, name
        assert not name.endswith((".npy", ".npz", ".h5", ".parquet", ".dcm")), name
    assert [name for name in TRACKED if name.startswith("data/")] == ["data/README.md"]


def test_modules_are_small():
    for path in [*(ROOT / "medwb").rglob("*.py"), *(ROOT / "dashboard").rglob("*.py")]:
        assert len(path.read_text().splitlines()) <= 400, path
