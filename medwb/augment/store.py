"""Recipes on disk: one YAML file each, below `augmentations/`."""

from medwb.augment.presets import PRESETS
from medwb.augment.recipe import MAX_LENGTH, Augmentation, parse_yaml
from medwb.errors import RequestError, unknown_name
from medwb.paths import augmentations_dir, check_name, write_text

NONE = "none"
"""The name of no augmentation at all."""

_MAX_BYTES = 4 * MAX_LENGTH


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
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"it is larger than {_MAX_BYTES:,} bytes")
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise RequestError(f"{path} cannot be read: {error}") from None
    return parse_yaml(text, str(path))


def save_augmentation(name: str, augmentation: Augmentation, replace: bool = False) -> None:
    """Save a recipe under a name.

    Args:
        name: Not that of a preset.
        augmentation: What to save.
        replace: Whether another recipe of that name may go.

    Raises:
        RequestError: The name is not allowed, is a preset's, or is taken.
    """
    check_name(name, "augmentation")
    if name in (NONE, *PRESETS):
        raise RequestError(f"augmentation {name!r} comes with medwb and stays as it is; save under another name")
    path = augmentations_dir() / f"{name}.yaml"
    if path.exists() and not replace and path.read_text(encoding="utf-8") != augmentation.to_yaml():
        raise RequestError(f"augmentation {name!r} exists; choose another name, or replace it")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, augmentation.to_yaml())


def remove_augmentation(name: str) -> None:
    """Remove a saved recipe; runs keep their own copy. Raises RequestError when there is none of that name."""
    path = augmentations_dir() / f"{check_name(name, 'augmentation')}.yaml"
    if name in PRESETS or not path.is_file():
        raise unknown_name("saved augmentation", name, set(augmentation_names()) - set(PRESETS))
    path.unlink()
