"""Source: a folder, a zip file read in place, or one file, as somebody handed it over and not to be trusted."""

import mmap
import os
import re
import zipfile
import zlib
from functools import cached_property
from pathlib import Path, PurePosixPath

from medwb.errors import RequestError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm"})
MAX_FILE_BYTES = 1 << 30  # a file in a zip that claims more is not unpacked

_LOCAL_HEADER_BYTES = 30
_MAX_DEPTH = 64  # folders in a table's path
_STORED, _DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


def _leads_out(path: str) -> bool:
    """Whether a path of a table or zip entry is absolute, names a drive, or climbs."""
    absolute = path.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", path)
    return bool(absolute) or ".." in path.replace("\\", "/").split("/")


def _is_text(path: str) -> bool:
    """Whether a file's name is UTF-8, so that tables can hold it."""
    try:
        return bool(path.encode())
    except UnicodeEncodeError:
        return False


def _is_loop(entry: os.DirEntry[str]) -> bool:
    """Whether it is a link that leads to itself."""
    try:
        entry.is_file()
    except OSError:
        return True
    return False


def _stem(path: str) -> str:
    """The path without its suffix, where that is an image's: "1.2.3" has none."""
    stem, dot, suffix = path.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in IMAGE_SUFFIXES else path


class Source:
    """Read-only access to the files of a folder or a zip, by their relative POSIX path.

    Nothing outside is ever read: links that leave the folder are left out (and listed in `refused`), and a zip
    with an entry such as `../x` is refused whole. Hidden files and folders are passed over. A single top folder
    that holds everything in a zip is not part of the paths.

    Attributes:
        path: The folder or zip; of a single file, the folder that it lies in.
        origin: What the user named.
        refused: Paths that lead out of the source, in circles, or whose name is not UTF-8.
    """

    def __init__(self, path: Path) -> None:
        """Open the source. Raises RequestError when it is not there or cannot be read."""
        self.path = path
        self.origin = path
        self.refused: list[str] = []
        self._archive: mmap.mmap | None = None
        self._entries: dict[str, zipfile.ZipInfo] = {}
        if not (path.is_dir() or path.is_file()):  # a pipe or a device would be read for ever
            raise RequestError(f"no such file or folder: {path}")
        if path.suffix.lower() == ".zip" and path.is_file() and not zipfile.is_zipfile(path):
            raise RequestError(f"{path} is no zip file, or a damaged one; fetch it again")
        if path.is_dir():
            self.files = sorted(self._walk(path))
        elif zipfile.is_zipfile(path) and path.suffix.lower() != ".npz":
            self._open_archive()
            self.files = sorted(self._entries)
        else:
            self.path = path.parent
            self.files = [path.name]

    @cached_property
    def images(self) -> list[str]:
        """Paths of the files that their suffix calls an image."""
        return [file for file in self.files if _stem(file) != file]

    def matching(self, pattern: str) -> list[str]:
        """Paths of the files at the top whose name matches a glob pattern, such as `Data_Entry*.csv`."""
        return [file for file in self.files if "/" not in file and PurePosixPath(file).match(pattern)]

    def read(self, file: str) -> bytes:
        """The file's content. Raises OSError when it cannot be read."""
        if self._archive is None:
            with open(f"{self.path}/{file}", "rb", buffering=0) as handle:  # noqa: PTH123  a Path costs 10 us
                if os.fstat(handle.fileno()).st_size > MAX_FILE_BYTES:
                    raise OSError("over 1 GB")
                return handle.read()
        return self._unpack(self._entries[file])

    def match(self, path: str) -> str:
        """The image with just this path; its suffix may be missing or be another. "" when none or more than one is.

        Raises:
            RequestError: The path leads out of the source (`../`, an absolute path).
        """
        if _leads_out(path):
            raise RequestError(f"{path!r} leads out of {self.path}; ids and paths must stay inside the source folder")
        return self._by_stem.get(path) or self._by_stem.get(_stem(path), "")

    def find(self, key: str) -> str:
        """Path of the image that a table's id or path means; "" when there is none or more than one.

        Tried in turn: the path itself, the path after leading folders (tables often name the folder that was
        unpacked), and, where the key names no folder, the file name anywhere; each with or without its suffix.

        Raises:
            RequestError: The key leads out of the source.
        """
        parts = key.replace("\\", "/").split("/")
        if len(parts) == 1:
            return self.match(key) or self._by_name.get(key) or self._by_name.get(_stem(key), "")
        for start in range(min(len(parts), _MAX_DEPTH)):
            if found := self.match("/".join(parts[start:])):
                return found
        return ""

    @cached_property
    def _by_stem(self) -> dict[str, str]:
        """Each image's path to itself, and its path without suffix to it; "" where that stands for several."""
        index: dict[str, str] = {}
        for path in self.images:
            stem = _stem(path)
            index[stem] = "" if stem in index else path
        return index | {path: path for path in self.images}

    @cached_property
    def _by_name(self) -> dict[str, str]:
        """File names, with and without suffix, to their path; "" for those that stand for more than one file."""
        index: dict[str, str] = {}
        for path in self.images:
            name = path.rsplit("/", 1)[-1]
            for key in (name, _stem(name)):
                index[key] = "" if key in index else path
        return index

    def _walk(self, root: Path) -> list[str]:
        found: list[str] = []
        inside = os.path.realpath(root) + os.sep
        pending = [""]
        while pending:
            folder = pending.pop()
            try:
                entries = list(os.scandir(root / folder))
            except OSError as error:
                raise RequestError(f"cannot read the folder {root / folder}: {error.strerror}") from error
            for entry in entries:
                if entry.name.startswith((".", "__MACOSX")):
                    continue
                path = folder + entry.name
                if not _is_text(path) or _is_loop(entry):
                    self.refused.append(os.fsencode(path).decode("utf-8", "backslashreplace"))
                elif entry.is_symlink() and not os.path.realpath(entry.path).startswith(inside):
                    self.refused.append(path)
                elif entry.is_dir(follow_symlinks=False):
                    pending.append(path + "/")
                elif entry.is_file():
                    found.append(path)
        return found

    def _open_archive(self) -> None:
        try:
            with zipfile.ZipFile(self.path) as archive:
                infos = [info for info in archive.infolist() if not info.is_dir()]
        except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
            raise RequestError(
                f"{self.path} is no readable zip file ({error}); unpack it and import the folder"
            ) from error
        for info in infos:
            if _leads_out(info.filename):
                raise RequestError(
                    f"{self.path} has the entry {info.filename!r}, which leads out of it; not imported"
                )
            if info.flag_bits & 1:
                raise RequestError(f"{self.path} is encrypted ({info.filename!r}); unpack it and import the folder")
        infos = [info for info in infos if not any(p.startswith((".", "__MACOSX")) for p in info.filename.split("/"))]
        tops = {info.filename.split("/", 1)[0] for info in infos}
        strip = len(next(iter(tops))) + 1 if len(tops) == 1 and all("/" in info.filename for info in infos) else 0
        self._entries = {info.filename[strip:]: info for info in infos}
        with self.path.open("rb") as handle:
            self._archive = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)

    def _unpack(self, info: zipfile.ZipInfo) -> bytes:
        """Cut an entry straight out of the mapped file: fast, and safe to call from threads."""
        assert self._archive is not None
        start = info.header_offset
        header = self._archive[start : start + _LOCAL_HEADER_BYTES]
        if header[:4] != b"PK\x03\x04" or info.file_size > MAX_FILE_BYTES:
            raise OSError("damaged zip entry" if header[:4] != b"PK\x03\x04" else "over 1 GB unpacked")
        start += (
            _LOCAL_HEADER_BYTES + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        )
        packed = self._archive[start : start + info.compress_size]
        try:
            if info.compress_type == _STORED:
                content = packed
            elif info.compress_type == _DEFLATED:
                content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, info.file_size + 1)
            else:
                raise OSError(f"zip compression method {info.compress_type} is not supported")
        except zlib.error as error:
            raise OSError(f"damaged zip entry ({error})") from error
        if len(content) != info.file_size or zlib.crc32(content) != info.CRC:
            raise OSError("damaged zip entry (checksum)")
        return content
