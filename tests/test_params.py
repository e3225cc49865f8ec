import pytest

from medwb.errors import RequestError
from medwb.params import Choice, OneOf, Param, ends, plain

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


DRAWN = Param("angle", -90, 90, -5, 0.5, "Angle.", "°", until=5)


@pytest.mark.parametrize(
    ("value", "setting"),
    [
        (3, 3.0),
        ([-1, 4.5], (-1.0, 4.5)),
        ((2, 2), (2.0, 2.0)),
        ({"one_of": [1, 2]}, OneOf((1.0, 2.0))),
        (OneOf((7.0,)), OneOf((7.0,))),
    ],
)
def test_settings_are_read_and_written_alike(value, setting):
    assert DRAWN.read(value) == setting
    assert DRAWN.read(plain(setting)) == setting
    low, high = ends(setting)
    assert -90 <= low <= high <= 90


def test_what_is_usual():
    assert DRAWN.usual == (-5, 5)
    assert ANGLE.usual == 0
    assert COUNT.read([1, 2][0]) == 1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([5, -5], r"angle=\[5, -5\] is upside down; write \[-5, 5\]"),
        ([1, 2, 3], "is no setting; write a number"),
        ({"one_of": []}, "one_of names no value"),
        ({"one_of": [91]}, "angle=91 is out of range; it goes from -90 to 90 °"),
        ({"some_of": [1]}, "is no setting"),
        (True, "angle=True is no setting"),
        ("1", "angle='1' is no setting"),
        (None, "angle=None is no setting"),
        ([0, True], "angle=True is not a number"),
        ([0, None], "angle=None is not a number"),
        (float("nan"), "angle=nan is out of range"),
        (10**400, "angle=1000.* is larger than any number"),
        ("x" * 10**6, "is no setting"),
    ],
)
def test_what_is_no_setting_is_named_in_a_short_line(value, message):
    with pytest.raises(RequestError, match=message) as raised:
        DRAWN.read(value)
    assert len(str(raised.value)) < 200


def test_a_number_that_is_not_drawn_takes_no_range():
    with pytest.raises(RequestError, match=r"angle=\[1, 2\] is not a number"):
        ANGLE.read([1, 2])


def test_choices():
    border = Choice("border", ("reflect", "black"), "Border.")
    assert border.read("black") == "black"
    for value in ("wrap", None, 3, ["reflect"], "x" * 10**4):
        with pytest.raises(RequestError, match="border"):
            border.read(value)
