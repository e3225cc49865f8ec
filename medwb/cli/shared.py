"""What commands share: the app that they register with, options that mean the same everywhere, texts of numbers."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer

_CONTEXT = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="medwb",
    help="A workbench for medical-image multi-label classification.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings=_CONTEXT,
)

Function = TypeVar("Function", bound=Callable[..., Any])

AsJson = Annotated[bool, typer.Option("--json", help="Print only JSON on standard output.")]
DatasetName = Annotated[str, typer.Argument(help="Name of an imported dataset.")]
RunId = Annotated[str, typer.Argument(help="Id of a run, as `medwb runs` lists it.")]


def command(panel: str, name: str | None = None) -> Callable[[Function], Function]:
    """Register the decorated function as a command, under a heading of `medwb --help`."""
    return app.command(name, rich_help_panel=panel)


def group(name: str, panel: str, help: str) -> typer.Typer:
    """Add a group of commands, `medwb NAME COMMAND`, under a heading of `medwb --help`."""
    made = typer.Typer(name=name, help=help, no_args_is_help=True, context_settings=_CONTEXT)
    app.add_typer(made, rich_help_panel=panel)
    return made


def count_text(value: int | None) -> str:
    """A count with its thousands apart; a dash where there is none."""
    return "–" if value is None else f"{value:,}"


def number_text(value: float | None, spec: str = "g") -> str:
    """A number; a dash where there is none or it is NaN."""
    return "–" if value is None or value != value else format(value, spec)
