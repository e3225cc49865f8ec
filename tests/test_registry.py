from concurrent.futures import ThreadPoolExecutor

import pytest

from medwb.architectures import ARCHITECTURES
from medwb.errors import RequestError
from medwb.formats import FORMATS
from medwb.metrics import METRICS
from medwb.registry import Registry


def test_keeps_order_and_finds_by_name():
    registry: Registry[int] = Registry("number")
    registry.add("two", 2)
    registry.add("one", 1)
    assert registry.names() == ["two", "one"]
    assert list(registry) == [2, 1]
    assert registry.get("one") == 1


def test_a_name_is_taken_once():
    registry: Registry[int] = Registry("number")
    registry.add("one", 1)
    with pytest.raises(ValueError, match="registered twice"):
        registry.add("one", 2)


@pytest.mark.parametrize(
    ("asked", "answer"), [("thre", "did you mean three?"), ("zzz", "known: one, three"), ("ONE", "did you mean one?")]
)
def test_unknown_name_says_the_nearest(asked, answer):
    registry: Registry[int] = Registry("number")
    registry.add("one", 1)
    registry.add("three", 3)
    with pytest.raises(RequestError, match=f"unknown number '{asked}'; {answer.replace('?', '[?]')}"):
        registry.get(asked)


@pytest.mark.parametrize("registry", [ARCHITECTURES, FORMATS, METRICS], ids=lambda registry: registry.noun)
def test_every_registry_is_filled_by_its_package(registry):
    assert len(registry.names()) >= 4


def test_who_looks_while_another_loads_waits(tmp_path, monkeypatch):
    package = tmp_path / "slow_entries"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from medwb.registry import Registry\nNUMBERS = Registry('number', __name__)\n"
    )
    (package / "one.py").write_text(
        "import time\nfrom slow_entries import NUMBERS\ntime.sleep(0.2)\nNUMBERS.add('one', 1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    from slow_entries import NUMBERS

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: NUMBERS.names(), range(4))) == [["one"]] * 4
