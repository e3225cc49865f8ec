"""medwb: a workbench for medical-image multi-label classification.

Importing it is cheap: each name below is loaded from its module when it is first used, and TensorFlow only
by a training process.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medwb.config import RunConfig
    from medwb.dataset import Dataset, dataset_names, open_dataset
    from medwb.demo import write_demo
    from medwb.formats import import_dataset
    from medwb.runs import Run, list_runs, open_run
    from medwb.table import f1_table

__version__ = "0.1.0"

_HOMES = {
    "Dataset": "medwb.dataset",
    "dataset_names": "medwb.dataset",
    "open_dataset": "medwb.dataset",
    "write_demo": "medwb.demo",
    "import_dataset": "medwb.formats",
    "Run": "medwb.runs",
    "RunConfig": "medwb.config",
    "list_runs": "medwb.runs",
    "open_run": "medwb.runs",
    "f1_table": "medwb.table",
}

__all__ = [
    "Dataset",
    "Run",
    "RunConfig",
    "dataset_names",
    "f1_table",
    "import_dataset",
    "list_runs",
    "open_dataset",
    "open_run",
    "write_demo",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'medwb' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
