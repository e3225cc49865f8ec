import pytest

from medwb.errors import RequestError
from medwb.params import Param

ANGLE = Param("angle", -90, 90, 0, 0.5, "Degrees.")
COUNT = Param("count", 1, 9, 3, 1, "How many.")


def test_whole_steps_make_whole_numbers():
    assert COUNT.integer
    assert isinstance(COUNT.check(4.0), int)
    assert not ANGLE.integer
    assert ANGLE.check(12.5) == 12.5


@pytest.mark.parametrize(("param", "value"), [(ANGLE, 91), (ANGLE, -90.5), (COUNT, 0), (COUNT, float("nan"))])
def test_out_of_range_names_the_range(param, value):
    with pytest.raises(RequestError, match=f"goes from {param.low:g} to {param.high:g}"):
        param.check(value)


def test_a_fraction_of_a_whole_number_is_refused():
    with pytest.raises(RequestError, match="whole number"):
        COUNT.check(2.5)
