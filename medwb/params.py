"""One adjustable number: drawn as a slider in the dashboard and in notebooks, checked everywhere."""

from dataclasses import dataclass

from medwb.errors import RequestError


@dataclass(frozen=True)
class Param:
    """An adjustable number.

    Attributes:
        name: The keyword argument that it sets.
        low: Smallest allowed value.
        high: Largest allowed value.
        default: Value when nothing is said.
        step: Distance between neighbouring slider positions; a whole number makes the parameter an integer.
        help: One sentence for the tooltip, with the unit.
    """

    name: str
    low: float
    high: float
    default: float
    step: float
    help: str

    @property
    def integer(self) -> bool:
        """Whether only whole numbers are allowed."""
        return float(self.step).is_integer() and float(self.low).is_integer()

    def check(self, value: float) -> float:
        """Return the value, as int where the parameter is one. Raises RequestError when it is out of range."""
        if not self.low <= value <= self.high:
            raise RequestError(f"{self.name}={value:g} is out of range; it goes from {self.low:g} to {self.high:g}")
        if not self.integer:
            return float(value)
        if not float(value).is_integer():
            raise RequestError(f"{self.name}={value:g} is not a whole number")
        return int(value)
