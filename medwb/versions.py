"""With what something was made: versions of packages, and the commit."""

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import medwb


def package_versions() -> dict[str, str]:
    """Versions of medwb and of what a training rests on; "not installed" for what is missing."""
    found = {"medwb": medwb.__version__}
    for package in ("keras", "tensorflow", "numpy", "scikit-learn"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def git_commit() -> str | None:
    """Commit of the checkout that medwb runs from, "-dirty" when it was changed; None outside of one."""
    folder = Path(__file__).parent.parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None
