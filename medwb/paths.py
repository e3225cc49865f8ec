"""MEDWB_HOME and what lies below it, and the one way in which files are replaced."""

import errno
import glob
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medwb.errors import RequestError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")

_STAGED = re.compile(r"(\d{1,9})(?:\.[^.]+)?\.partial")  # what follows the target's name: the process, a random part

_REPLACING = re.compile(r"\.(\d{1,9})\.[0-9a-f]+\.partial\.")  # what stands before the target's name


def home() -> Path:
    """The folder that holds datasets and runs.

    `MEDWB_HOME` when it is set; otherwise `data/` of the medwb checkout that the current folder lies in (a
    notebook runs in `notebooks/`); otherwise `./data`.
    """
    named = os.environ.get("MEDWB_HOME")
    if named:
        try:
            return Path(named).expanduser().resolve()
        except RuntimeError as error:
            raise RequestError(f"MEDWB_HOME={named!r} names no folder: {error}") from error
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "data" / "README.md").is_file() and (folder / "pyproject.toml").is_file():
            return folder / "data"
    return here / "data"


def datasets_dir() -> Path:
    """`datasets/<name>/` stand here."""
    return home() / "datasets"


def audits_dir() -> Path:
    """`audits/<dataset>/` stand here."""
    return home() / "audits"


def augmentations_dir() -> Path:
    """`augmentations/<name>.yaml` stand here."""
    return home() / "augmentations"


def runs_dir() -> Path:
    """`runs/<run_id>/` stand here."""
    return home() / "runs"


def check_name(name: str, noun: str) -> str:
    """Return the name. Raises RequestError unless it can be one folder's name on every system.

    Args:
        name: What the user wants to call it.
        noun: What it names ("dataset"), for the message.
    """
    if not _NAME.fullmatch(name):
        raise RequestError(
            f"{noun} name {name!r} is not allowed; use letters, digits, '.', '_' and '-' (at most 80, "
            "the first a letter or digit)"
        )
    return name


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the place of `path` in one step.

    A reader sees the old file or the new one, never a part; of several writers the last wins. When the body raises,
    `path` is left as it was. A link stays, and the file that it leads to is replaced.

    Raises:
        OSError: `path` is a folder, a device or a pipe: a rename would take its place.
    """
    path = path.resolve() if path.is_symlink() else path
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    # A random part too, for threads share a process id; the suffix stays last.
    temporary = path.with_name(f".{os.getpid()}.{secrets.token_hex(4)}.partial.{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(target: Path) -> None:
    """Remove what writers of `target` left that were killed half-way: `.<name>.<process>.partial` folders.

    A random part may follow the process. What a living process is at stays.
    """
    import psutil

    prefix = f".{target.name}."
    for left in target.parent.glob(f"{glob.escape(prefix)}*.partial"):
        owner = _STAGED.fullmatch(left.name.removeprefix(prefix))
        if owner and not psutil.pid_exists(int(owner[1])):
            shutil.rmtree(left, ignore_errors=True)


def sweep_files(folder: Path) -> None:
    """Remove what writers of a folder's files (`replacing`) left that were killed half-way.

    What a living process is at stays.
    """
    import psutil

    for left in folder.glob(".*.partial.*"):
        owner = _REPLACING.match(left.name)
        if owner and not psutil.pid_exists(int(owner[1])):
            left.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace the file's content in one step, UTF-8."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
