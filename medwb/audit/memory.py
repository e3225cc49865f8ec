"""Memory: the last few answers that took long, for the many runs that are made of one dataset at once."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, TypeVar

_KEPT = 8
Value = TypeVar("Value")


class Memory:
    """The last few answers by key; a second caller of the same key waits for the first."""

    def __init__(self) -> None:
        self._answers: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable, compute: Callable[[], Value]) -> Value:
        """The answer for the key, computed when it is not remembered. Answers are shared: do not change them."""
        with self._lock:
            if key not in self._answers:
                self._answers[key] = compute()
                while len(self._answers) > _KEPT:
                    self._answers.popitem(last=False)
            self._answers.move_to_end(key)
            answer: Value = self._answers[key]
            return answer

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._answers.clear()
