"""Scoring scans with a run's networks, without TensorFlow."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from medwb.architectures import ARCHITECTURES
from medwb.config import RunConfig
from medwb.errors import RequestError
from medwb.images import Pixels
from medwb.runs import ACTIVE_STATES, Run

if TYPE_CHECKING:
    import onnxruntime

_BATCH = 256
_THREADS = 2


def onnx_name(config: RunConfig, head: int) -> str:
    """File of a head's network: one file for shared heads, one a label otherwise."""
    return "model.onnx" if config.heads == "shared" else f"model.{head}.onnx"


def weights_files(run: Run) -> list[str]:
    """Names of the files that hold a run's weights: one for shared heads, one a label otherwise."""
    if run.config.heads == "shared":
        return ["model.weights.h5"]
    return [f"model.{head}.weights.h5" for head in range(len(run.label_names))]


def onnx_session(path: Path) -> "onnxruntime.InferenceSession":
    """An ONNX file, ready to run on two threads of this machine's processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _THREADS
    options.log_severity_level = 4  # what goes wrong is raised
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


class Scorer:
    """A run's networks, loaded.

    Attributes:
        run: The run.
        shape: (height, width, channels) that the networks see; `medwb.images.to_shape` makes it of a dataset's scans.
    """

    def __init__(self, run: Run) -> None:
        """Load the networks. Raises RequestError when the run has none as ONNX, or a file is damaged."""
        self.run = run
        config, labels = run.config, len(run.label_names)
        heads = 1 if config.heads == "shared" else labels
        paths = [run.path / onnx_name(config, head) for head in range(heads)]
        if not all(path.is_file() for path in paths):
            raise RequestError(f"run {run.id} cannot score scans: {self._reason()}")
        self._sessions = []
        for path in paths:
            try:
                session = onnx_session(path)
                (given,), (answer,) = session.get_inputs(), session.get_outputs()
                shape, outputs = given.shape[1:], answer.shape[1:]
                if given.type != "tensor(uint8)" or len(shape) != 3 or outputs != [labels // heads]:
                    raise ValueError(f"it takes {given.type} {given.shape} and answers {answer.shape}")
            except Exception as error:  # the runtime raises what it likes
                text = " ".join(str(error).split())[:200]
                raise RequestError(f"run {run.id}: {path.name} is damaged ({text}); train again") from error
            self._sessions.append(session)
            self.shape: tuple[int, int, int] = tuple(shape)

    def _reason(self) -> str:
        """Why a run has no ONNX file, and the way out."""
        entry, status = ARCHITECTURES.get(self.run.config.architecture), self.run.status()
        if not entry.is_network:
            return f"{entry.name} is a baseline, and only networks are kept; choose a network's run"
        if self.run.config.frozen != "none":
            return "it fitted features of frozen weights, and only whole networks are kept; choose another run"
        if status["state"] in ACTIVE_STATES:
            return f"it is {status['state']}; its network is written when the training ends"
        if problem := status.get("onnx_error"):
            return f"its network is not there as ONNX ({problem}); choose another run"
        return f"it has no {onnx_name(self.run.config, 0)}; launch a new one"

    def scores(self, images: Pixels) -> npt.NDArray[np.float32]:
        """Scores of scans.

        Args:
            images: uint8 (n, *shape).

        Returns:
            float32 (n, labels) in 0..1, in the order of the run's `label_names`.

        Raises:
            RequestError: The scans have another shape or type.
        """
        if images.dtype != np.uint8 or images.shape[1:] != self.shape:
            raise RequestError(
                f"run {self.run.id} scores uint8 scans of {self.shape}, not {images.dtype} of {images.shape[1:]}; "
                "medwb.images.to_shape makes them"
            )
        result = np.empty((len(images), len(self.run.label_names)), np.float32)
        for start in range(0, len(images), _BATCH):
            block = np.ascontiguousarray(images[start : start + _BATCH])
            answers = [session.run(None, {session.get_inputs()[0].name: block})[0] for session in self._sessions]
            result[start : start + _BATCH] = np.concatenate(answers, axis=1)
        return result
