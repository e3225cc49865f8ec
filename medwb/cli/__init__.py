"""The command line. Each command imports what it needs when it runs, so that `--help` is quick."""

import signal
import sys
from importlib import import_module

from medwb.cli.shared import app
from medwb.errors import RequestError
from medwb.terminal import say

__all__ = ["app", "main"]

# In the order of the headings of `medwb --help`.
for _topic in (
    "data",
    "audit",
    "augment",
    "training",
    "plan",
    "studies",
    "results",
    "compare",
    "thresholds",
    "errors",
    "explain",
    "hand_in",
):
    import_module(f"medwb.cli.{_topic}")


def main() -> None:
    """Run the command line: exit status 0 done, 1 the work failed, 2 the request was wrong."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a killed import sweeps up, as after Ctrl-C
    try:
        app()
    except RequestError as error:
        say(f"medwb: {error}")
        sys.exit(2)
    except OSError as error:
        say(f"medwb: failed: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
