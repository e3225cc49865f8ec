"""Fetching public datasets from their own home, resumable and verified."""

import hashlib
import urllib.error
import urllib.request
from pathlib import Path

from medwb.errors import RequestError, unknown_name
from medwb.formats.medmnist import medmnist_facts
from medwb.progress import Progress, no_progress

MEDMNIST_HOME = "https://zenodo.org/records/10519652/files"
_CHUNK = 1 << 20
_TIMEOUT_S = 30.0


def download_medmnist(
    name: str, size: int, folder: Path, progress: Progress = no_progress, home: str = MEDMNIST_HOME
) -> Path:
    """Fetch the .npz of a 2D MedMNIST set.

    An interrupted download leaves `<file>.part`, and the next one continues it. The file appears under its name
    only when its MD5 is the one that the set's authors publish.

    Args:
        name: The set, such as "chestmnist".
        size: 28, 64, 128 or 224 pixels.
        folder: Where to keep it.
        progress: Called with (bytes done, bytes in all).
        home: Where the sets live.

    Returns:
        Path of the file.

    Raises:
        RequestError: No such set or size, no such folder, no network, or the checksum differs.
    """
    sets = medmnist_facts()
    if name not in sets:
        raise unknown_name("MedMNIST set", name, sets)
    checksums = sets[name]["md5"]
    if str(size) not in checksums:
        raise RequestError(f"{name} does not come in {size} pixels; choose {', '.join(checksums)}")
    if not folder.is_dir():
        raise RequestError(f"no such folder: {folder}")
    file = f"{name}.npz" if size == 28 else f"{name}_{size}.npz"
    target, part = folder / file, folder / f"{file}.part"
    if target.exists() and _md5(target) == checksums[str(size)]:
        return target
    _fetch(f"{home}/{file}", part, progress)
    found = _md5(part)
    if found != checksums[str(size)]:
        part.unlink()
        raise RequestError(f"{file}: its MD5 is {found}, not {checksums[str(size)]}; removed, download it again")
    part.replace(target)
    return target


def _fetch(url: str, part: Path, progress: Progress) -> None:
    """Append what is missing to the part file."""
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            resumed = answer.status == 206
            done = done if resumed else 0
            total = done + int(answer.headers.get("Content-Length") or 0)
            with part.open("ab" if resumed else "wb") as file:
                while chunk := answer.read(_CHUNK):
                    file.write(chunk)
                    done += len(chunk)
                    progress(done, total)
            if done < total:
                raise RequestError(f"{url} broke off after {done:,} of {total:,} bytes; the same command continues")
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is missing any more
            return
        raise RequestError(f"{url} answered {error.code} {error.reason}") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise RequestError(
            f"cannot reach {url} ({reason}); without a network, fetch the file elsewhere and `medwb import` it"
        ) from error


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
