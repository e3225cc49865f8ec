"""Weights that a backbone starts from: a file, or those of `keras.applications` that were trained on ImageNet."""

import hashlib
import socket
import tempfile
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medwb.architectures import Architecture
from medwb.errors import RequestError, short

RANDOM, IMAGENET = "none", "imagenet"
NAMED_WEIGHTS = (RANDOM, IMAGENET)
"""Values of the setting `weights` that are no path."""

OWN_SUFFIX = ".weights.h5"

_HDF5 = b"\x89HDF\r\n\x1a\n"
_TIMEOUT_S = 30.0
_KINDS = "a .weights.h5 file that medwb or Keras wrote, or the .h5 file that keras.applications downloads"


def check_weights(architecture: Architecture, weights: str) -> None:
    """Raise RequestError unless an architecture can start from such weights; nothing is loaded or downloaded.

    Args:
        architecture: Which one.
        weights: "none", "imagenet", or the path of a file; only backbones can start from weights.
    """
    from medwb.architectures.applications import APPLICATIONS

    if weights == RANDOM:
        return
    if architecture.backbone is None:
        raise RequestError(f"weights={short(weights)}: {architecture.name} starts from none; leave weights out")
    if weights != IMAGENET:
        _check_file(Path(weights))
    elif architecture.name not in APPLICATIONS:
        raise _no_imagenet(architecture.name)


def weights_digest(path: str | Path) -> str:
    """SHA-256 of a file of weights, 64 hexadecimal digits. Raises RequestError when it cannot be read as one."""
    _check_file(Path(path))
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def start_from(model: Any, name: str, weights: str, fold: float | None = None) -> None:
    """Load a file's weights into a backbone.

    A `.weights.h5` file holds this very network, alone or as the largest part of one that was trained (a run's
    `model.weights.h5`). An `.h5` file is what `keras.applications` downloads, without its top. Both hold arrays only:
    nothing in them is executed.

    Args:
        model: The `keras.Model`, changed in place.
        name: Of the architecture, for messages.
        weights: "none", which changes nothing, or the file.
        fold: As `Preprocessing.fold`; for `.h5` files.

    Raises:
        RequestError: There is no such file, it is of another kind, or it holds another network.
    """
    if weights == RANDOM:
        return
    if weights == IMAGENET:
        raise _no_imagenet(name)
    path = Path(weights)
    _check_file(path)
    try:
        if path.name.endswith(OWN_SUFFIX):
            with _backbone_part(path) as part, warnings.catch_warnings():
                # Keras looks for each layer a second time, by its depth, and says for each that it is not there.
                warnings.filterwarnings("ignore", "Skipping nested container")
                model.load_weights(part)
        else:
            model.load_weights(path)
            fold_first_kernel(model, fold)
    except Exception as error:  # Keras and HDF5 raise what they like
        reason = " ".join(str(error).split())
        reason = reason if len(reason) <= 240 else reason[:237] + "..."
        raise RequestError(f"weights={path} do not fit {name}: {reason}") from error


def download_imagenet(model: Any, name: str, factory: str, fold: float | None, **options: Any) -> None:
    """Give a backbone the weights that Keras keeps for it, which it downloads once to `~/.keras/models`.

    Args:
        model: The `keras.Model`, changed in place.
        name: Of the architecture, for messages.
        factory: Of `keras.applications`.
        fold: As `Preprocessing.fold`.
        options: Further arguments of the factory.

    Raises:
        RequestError: They are not there and cannot be downloaded.
    """
    import keras

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_S)  # Keras sets none, and a silent network would hold the run for ever
    try:
        build = getattr(keras.applications, factory)
        source = build(weights="imagenet", include_top=False, input_shape=(224, 224, 3), **options)
    except Exception as error:  # Keras raises a bare Exception
        raise RequestError(
            f"weights=imagenet: {name}'s cannot be downloaded ({' '.join(str(error).split())}); where there is no "
            "network, fetch that file elsewhere and give its path as weights"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    model.set_weights(source.get_weights())
    fold_first_kernel(model, fold)


def fold_first_kernel(model: Any, fold: float | None) -> None:
    """Multiply the first convolution's kernel and turn its input channels about; nothing for None."""
    import keras

    if fold is not None:
        kernel = next(layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)).kernel
        kernel.assign(kernel.numpy()[:, :, ::-1] * fold)


def _check_file(path: Path) -> None:
    """Raise RequestError unless a file can be one of weights."""
    if not path.name.endswith(".h5"):
        raise RequestError(f"weights={short(str(path))} is no file of weights; give none, imagenet, or {_KINDS}")
    try:
        if not path.is_file():
            raise RequestError(f"weights={path}: there is no such file; give {_KINDS}")
        with path.open("rb") as file:
            begin = file.read(len(_HDF5))
    except OSError as error:
        raise RequestError(f"weights={path} cannot be read: {error.strerror}") from error
    if begin != _HDF5:
        raise RequestError(f"weights={path} is no HDF5 file, whatever its name says; give {_KINDS}")


def _no_imagenet(name: str) -> RequestError:
    from medwb.architectures.applications import APPLICATIONS

    return RequestError(
        f"weights=imagenet: Keras has none for {name}; leave weights out, give a file, or choose one of "
        f"{', '.join(APPLICATIONS)}"
    )


@contextmanager
def _backbone_part(path: Path) -> Generator[Path]:
    """A file with the backbone of a `.weights.h5` alone; the file itself when it holds no more."""
    import h5py

    with h5py.File(path) as file, tempfile.TemporaryDirectory() as folder:
        layers = _own(file, "layers")
        networks = [one for one in layers.values() if len(_own(one, "layers")) > 3]
        if not networks or len(layers) > 8:  # a backbone has more layers than the network around one
            yield path
            return
        part = Path(folder) / "backbone.weights.h5"
        with h5py.File(part, "w") as alone:
            for key in _own(networks[0]):
                networks[0].copy(key, alone)
        yield part


def _own(group: Any, key: str = "") -> dict[str, Any]:
    """What a group, or the group below it of that name, holds itself: links may lead out of the file."""
    import h5py

    if not isinstance(group, h5py.Group):
        return {}
    own = {name: group[name] for name in group if isinstance(group.get(name, getlink=True), h5py.HardLink)}
    return _own(own.get(key)) if key else own
