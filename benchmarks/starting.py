"""Starting: `import medwb` and `medwb --help`, each as a whole process.

    python benchmarks/starting.py

The other side is a Python process that does nothing, and one that imports typer alone. Targets: at most 0.4 s and
0.7 s, and neither loads TensorFlow.
"""

import subprocess
import sys
from functools import partial
from pathlib import Path

from measure import medians, report

ROUNDS = 15


def main() -> None:
    """Time the processes in turn."""
    python = sys.executable
    run = partial(subprocess.run, check=True, capture_output=True)
    loaded = run([python, "-X", "importtime", "-m", "medwb.cli", "--help"]).stderr.decode()
    found = medians(
        {
            "python -c pass": lambda: run([python, "-c", "pass"]),
            "import medwb": lambda: run([python, "-c", "import medwb"]),
            "import typer": lambda: run([python, "-c", "import typer"]),
            "medwb --help": lambda: run([Path(python).parent / "medwb", "--help"]),
        },
        ROUNDS,
    )
    figures = {"rounds": ROUNDS, "seconds": {name: round(value, 3) for name, value in found.items()}}
    report({**figures, "tensorflow_loaded": "tensorflow" in loaded}, ("typer",))


if __name__ == "__main__":
    main()
