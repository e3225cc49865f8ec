import pytest

from medwb.strict_yaml import load_yaml


def test_plain_yaml_and_json_are_read():
    assert load_yaml("a: [1, 2.5]\nb: {c: yes}") == {"a": [1, 2.5], "b": {"c": True}}
    assert load_yaml('{"a": null}') == {"a": None}
    assert load_yaml("base: &b {a: 1, c: 2}\nmine:\n  <<: *b\n  a: 3")["mine"] == {"a": 3, "c": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "'a' stands there twice, again in line 3"),
        ("x:\n- {a: 1, a: 1}", "'a' stands there twice, again in line 2"),
        ("a: !!bool abc", "abc"),
        ("a: !!timestamp abc", "."),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("&a [*a]: 1", "."),
        ("a: [", "while parsing"),
        ("[" * 5000, "."),
        ("a: 1\n---\nb: 2", "single document"),
        ("? [a]\n: 1", "unhashable"),
    ],
)
def test_anything_else_is_one_line(text, message):
    with pytest.raises(ValueError, match=message) as raised:
        load_yaml(text)
    assert "\n" not in str(raised.value)
    assert str(raised.value)
