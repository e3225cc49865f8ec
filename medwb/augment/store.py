"""Recipes on disk: one YAML file each, below `augmentations/`."""

from pathlib import Path

from medwb.augment.presets import PRESETS
from medwb.augment.recipe import MAX_LENGTH, Augmentation, parse_yaml
from medwb.errors import RequestError, unknown_name
from medwb.paths import augmentations_dir, check_name, write_text

NONE = "none"
"""The name of no augmentation at all."""

MAX_BYTES = 4 * MAX_LENGTH
"""Of a recipe's file: a character takes four at most."""


def augmentation_names() -> list[str]:
    """The presets, then the saved recipes by name."""
    saved = (path.stem for path in augmentations_dir().glob("*.yaml") if not path.name.startswith("."))
    return [*PRESETS, *sorted(set(saved) - {*PRESETS, NONE})]


def open_augmentation(name: str) -> Augmentation:
    """A preset or a saved recipe; for "none" one without steps.

    Raises:
        RequestError: There is no such recipe, or its file is damaged: the place is named.
    """
    if name == NONE:
        return Augmentation()
    if name in PRESETS:
        return PRESETS[name]
    path = augmentations_dir() / f"{check_name(name, 'augmentation')}.yaml"
    if not path.is_file():
        raise unknown_name("augmentation", name, [NONE, *augmentation_names()])
    return load_recipe(path)


def load_recipe(path: Path) -> Augmentation:
    """The recipe in a file anywhere. Raises RequestError when there is none, or as `read_recipe` does."""
    try:
        if not path.is_file():
            raise RequestError(
                f"{path} is no file; write the recipe into a YAML file, as `medwb augment show` prints it"
            )
        return read_recipe(_head(path), str(path))
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror or error}") from None


def read_recipe(data: bytes, where: str) -> Augmentation:
    """The recipe in a file's bytes.

    Args:
        data: YAML in UTF-8; the first `MAX_BYTES` + 1 bytes suffice.
        where: What they stand in, for the message.

    Raises:
        RequestError: There are more than `MAX_BYTES`, they are no UTF-8, or they hold no recipe; the place is named.
    """
    if len(data) > MAX_BYTES:
        raise RequestError(f"{where} is larger than {MAX_BYTES:,} bytes, which no recipe is")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(f"{where} is no text in UTF-8: {error}") from None
    return parse_yaml(text, where)


def _head(path: Path) -> bytes:
    """As much of a file as shows whether it is too large."""
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def save_augmentation(name: str, augmentation: Augmentation, replace: bool = False) -> None:
    """Save a recipe under a name.

    Args:
        name: Not that of a preset.
        augmentation: What to save.
        replace: Whether another recipe of that name may go.

    Raises:
        RequestError: The name is not allowed, is a preset's, or is taken, or the file cannot be written.
    """
    check_name(name, "augmentation")
    if name in (NONE, *PRESETS):
        raise RequestError(f"augmentation {name!r} comes with medwb and stays as it is; save under another name")
    path, text = augmentations_dir() / f"{name}.yaml", augmentation.to_yaml()
    if path.exists() and not replace and not _holds(path, text.encode()):
        raise RequestError(f"augmentation {name!r} exists; choose another name, or replace it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        raise RequestError(f"{path} cannot be written ({error.strerror or error}); make room for it there") from None


def _holds(path: Path, data: bytes) -> bool:
    """Whether a file has just these bytes; one that cannot be read has not."""
    try:
        return _head(path) == data
    except OSError:
        return False


def remove_augmentation(name: str) -> None:
    """Remove a saved recipe; runs keep their own copy.

    Raises:
        RequestError: There is none of that name, or its file cannot be removed.
    """
    path = augmentations_dir() / f"{check_name(name, 'augmentation')}.yaml"
    if name in PRESETS or not path.is_file():
        raise unknown_name("saved augmentation", name, set(augmentation_names()) - set(PRESETS))
    try:
        path.unlink()
    except OSError as error:
        raise RequestError(f"{path} cannot be removed: {error.strerror or error}") from None
