"""Answers of a trained run for image files that it has never seen, prepared as its dataset was."""

import io
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from medwb.dataset import open_dataset
from medwb.decisions import Choice, Decision, decide
from medwb.errors import RequestError, printable
from medwb.progress import Progress, no_progress
from medwb.runs import Run
from medwb.source import Source

if TYPE_CHECKING:  # loads OpenCV
    import pandas as pd

    from medwb.calibration import Calibration
    from medwb.images import Pixels

FORMATS = "PNG, JPEG, TIFF, BMP or DICOM"

_CHUNK = 64  # files decoded and scored at a time
_MOST_THREADS = 4


class Problem(NamedTuple):
    """A file without an answer: its path, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class FileAnswers:
    """What a run says about image files.

    Attributes:
        run_id: The run.
        label_names: The L labels.
        paths: The N files that could be read, as they were named: a file of a folder with the folder before it.
        scores: float32 (N, L) in 0..1, calibrated where that was asked for.
        called: int64 (N, L), 1 or 0: whether the score before calibration reaches the threshold.
        decision: The thresholds, and how they were chosen.
        calibrated: Whether the scores are.
        problems: The files that have no answer.
        notes: What a reader should know.
        seconds: From the first file to the last answer, without loading the network.
    """

    run_id: str
    label_names: tuple[str, ...]
    paths: list[str]
    scores: npt.NDArray[np.float32]
    called: npt.NDArray[np.int64]
    decision: Decision
    calibrated: bool
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def images_per_second(self) -> float:
        """Files answered a second."""
        return len(self.paths) / max(self.seconds, 1e-9)

    def table(self, *, scores: bool = False) -> "pd.DataFrame":
        """One row a file: `path`, a column a label with 1 or 0, and with `scores` one `score:<label>` each."""
        import pandas as pd

        table = pd.DataFrame({"path": pd.Series(self.paths, dtype=object)})
        answers = pd.DataFrame(self.called, columns=list(self.label_names))
        parts = [table, answers]
        if scores:
            parts.append(pd.DataFrame(self.scores, columns=[f"score:{label}" for label in self.label_names]))
        return pd.concat(parts, axis=1)

    def to_csv(self, *, scores: bool = False) -> str:
        """`table` as CSV; scores have six digits."""
        text = io.StringIO()
        self.table(scores=scores).to_csv(text, index=False, float_format="%.6f")
        return text.getvalue()

    def to_json(self) -> dict[str, Any]:
        """The documented JSON of `medwb predict`."""
        rows = [
            {
                "path": path,
                "called": [label for label, yes in zip(self.label_names, called, strict=True) if yes],
                "scores": dict(zip(self.label_names, values, strict=True)),
            }
            for path, called, values in zip(self.paths, self.called.tolist(), self.scores.tolist(), strict=True)
        ]
        return {
            "run": self.run_id,
            "labels": list(self.label_names),
            "thresholds": self.decision.thresholds,
            "rule": self.decision.rule,
            "calibrated": self.calibrated,
            "answers": rows,
            "problems": [problem._asdict() for problem in self.problems],
            "notes": self.notes,
            "images_per_second": round(self.images_per_second, 1),
        }


def predict(
    run: Run,
    paths: Sequence[str | Path],
    *,
    thresholds: Choice = None,
    calibrated: bool = False,
    progress: Progress = no_progress,
) -> FileAnswers:
    """Answer image files with a run's network.

    A file is decoded, and its channels and size changed, just as importing it into the run's dataset and training on
    it did. Nothing outside of the folders and zips that are named is read: a link that leaves one is a problem.

    Args:
        run: A run with its network as ONNX.
        paths: Image files, folders (searched at every depth) and zips.
        thresholds: As `medwb.decisions.decide` takes them.
        calibrated: Give scores that were calibrated on validation; what is called stays the same.
        progress: Called with (files done, files in all).

    Raises:
        RequestError: The run cannot score scans, has no such threshold or no calibration, or no file could be read.
    """
    from medwb.images import to_shape
    from medwb.scoring import Scorer
    from medwb.training.ahead import ahead

    scorer, decision = Scorer(run), decide(run, thresholds)
    calibration = _calibration(run) if calibrated else None
    shape = imported_shape(run)
    files, problems = _list_files(paths)
    found, scores, coloured = list[str](), [np.zeros((0, len(run.label_names)), np.float32)], 0
    chunks = [files[start : start + _CHUNK] for start in range(0, len(files), _CHUNK)]

    def answer(chunk: list[_File]) -> _Answered:
        """Read and score a chunk, on a thread."""
        read = [_read(file, shape) for file in chunk]
        pixels = [one.pixels for one in read if one.pixels is not None]
        return read, scorer.scores(to_shape(np.stack(pixels), scorer.shape)) if pixels else scores[0]

    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    started, done = time.perf_counter(), 0
    for chunk, (read, scored) in zip(chunks, ahead(answer, chunks, threads, threads + 1), strict=True):
        scores.append(scored)
        for file, one in zip(chunk, read, strict=True):
            coloured += one.coloured
            if one.pixels is None:
                problems.append(Problem(file.name, one.problem))
            else:
                found.append(file.name)
        done += len(chunk)
        progress(done, len(files))
    if not found:
        raise _nothing(paths, problems)
    raw = np.concatenate(scores)
    return FileAnswers(
        run_id=run.id,
        label_names=run.label_names,
        paths=found,
        scores=raw if calibration is None else calibration.apply(raw).astype(np.float32),
        called=(raw >= decision.values).astype(np.int64),
        decision=decision,
        calibrated=calibration is not None,
        problems=problems,
        notes=_notes(run, coloured),
        seconds=time.perf_counter() - started,
    )


def imported_shape(run: Run) -> tuple[int, int, int]:
    """(height, width, channels) of the scans that the run's dataset holds, from the run's record.

    Raises:
        RequestError: The record does not say, and the dataset is gone.
    """
    recorded = run.record["dataset"].get("image_shape")
    if isinstance(recorded, list) and len(recorded) == 3 and all(isinstance(side, int) for side in recorded):
        height, width, channels = recorded
        return height, width, channels
    return open_dataset(run.config.dataset).image_shape  # a run from before that was recorded


def as_imported(pixels: "Pixels", shape: tuple[int, int, int]) -> "Pixels":
    """One decoded image as an import keeps it: uint8 (h, w, 1 or 3) to `shape`.

    Colour becomes grey where the dataset has one channel; then the size changes (area filter); then one channel fills
    three. `medwb.ingest` goes the same way, and a test holds the two equal.
    """
    from medwb.images import resize, to_grey

    height, width, channels = shape
    if pixels.shape[2] > channels:
        pixels = to_grey(pixels)
    pixels = resize(pixels, height, width)
    return pixels if pixels.shape[2] == channels else np.repeat(pixels, channels, axis=2)


class _File(NamedTuple):
    """A file of a source, and what the user calls it."""

    source: Source
    path: str
    name: str


def _list_files(paths: Sequence[str | Path]) -> tuple[list[_File], list[Problem]]:
    """Every file to read, each once, in the order named; and what cannot be read."""
    files: dict[str, _File] = {}
    problems: list[Problem] = []
    for named in paths:
        path = Path(named).expanduser()
        try:
            source = Source(path)
        except RequestError as error:
            problems.append(Problem(str(named), str(error)))
            continue
        if source.path != path:  # one file, whatever its suffix
            files.setdefault(str(path), _File(source, path.name, str(path)))
            continue
        for inside in source.images:
            name = str(path / inside)
            files.setdefault(name, _File(source, inside, name))
        reason = "a link out of the folder or in a circle, or a name that is not UTF-8"
        problems += [Problem(str(path / inside), reason) for inside in source.refused]
        if not source.images:
            problems.append(Problem(str(path), f"no image in it (looked for {FORMATS})"))
    return list(files.values()), problems


class _Read(NamedTuple):
    """What became of a file: its pixels as imported, or what is wrong; and whether its colour became grey."""

    pixels: "Pixels | None"
    problem: str = ""
    coloured: bool = False


_Answered = tuple[list[_Read], npt.NDArray[np.float32]]


def _read(file: _File, shape: tuple[int, int, int]) -> _Read:
    from medwb.images import UnreadableImage, decode

    try:
        pixels = decode(file.source.read(file.path)).pixels
    except (UnreadableImage, OSError) as error:
        return _Read(None, printable(" ".join(str(error).split())))
    return _Read(as_imported(pixels, shape), coloured=pixels.shape[2] > shape[2])


def _nothing(paths: Sequence[str | Path], problems: list[Problem]) -> RequestError:
    if not paths:
        return RequestError("no file is named; give image files, folders or zips")
    first = problems[0]
    more = f", and {len(problems) - 1:,} more" if len(problems) > 1 else ""
    return RequestError(f"no image could be read: {first.path}: {first.reason}{more}")


def _notes(run: Run, coloured: int) -> list[str]:
    notes = []
    if run.state != "finished":
        notes.append(f"run {run.id} is {run.state}: these are not the answers of its end")
    if coloured:
        notes.append(f"{coloured:,} scans have colour, but the run learned from grey ones: they became grey")
    return notes


def _calibration(run: Run) -> "Calibration":
    """What was fitted for the run. Raises RequestError where there is nothing."""
    from medwb.calibration import open_calibration

    found = open_calibration(run)
    if found is None:
        raise RequestError(f"run {run.id} has no calibration; fit one: `medwb calibrate {run.id}`")
    return found
