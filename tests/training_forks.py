"""Trains runs in forks of one process that has loaded TensorFlow, so that a hundred trainings cost one import.

Started as a script: reads a run's folder a line, answers with the process that trains it, and with its exit status
once that is over.
"""

import os
import signal
import subprocess
import sys
from types import TracebackType

from medwb.runs import Run


class Forks:
    """A context: `start` trains a run in a process of its own, `wait` says how that ended.

    Args:
        checkpoint_every: Seconds between two checkpoints within an epoch.
    """

    def __init__(self, checkpoint_every: float = 120.0) -> None:
        self._every = checkpoint_every

    def __enter__(self) -> "Forks":
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(self._every)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answer()  # TensorFlow is loaded
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def start(self, run: Run) -> int:
        """Process id of the training."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{run.path}\n")
        self._process.stdin.flush()
        return self._answer()

    def wait(self) -> int:
        """Exit status of the training that was started last; the negative signal when it was killed."""
        return self._answer()

    def _answer(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


def main() -> None:
    """The process that forks."""
    from medwb.training import fit, train_network  # noqa: F401  loads TensorFlow
    from medwb.training.__main__ import main as train

    fit._CHECKPOINT_EVERY_S = float(sys.argv[1])
    print(os.getpid(), flush=True)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            sys.argv = ["medwb.training", line.strip()]
            status = 1
            try:
                status = train()
            finally:
                os._exit(status)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
