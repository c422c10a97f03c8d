"""Exchanges and bindings of the in-process broker: which queues a message goes to."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from broker.topology import Binding, Exchange


@lru_cache(maxsize=4096)
def topic_matches(pattern: str, key: str) -> bool:
    """Whether a routing key matches a topic pattern: `*` is one word, `#` any number of words.

    >>> topic_matches("u.*.0.*", "u.run.0.w1"), topic_matches("c.#", "c"), topic_matches("*", "a.b")
    (True, True, False)
    """
    return _words_match(pattern.split("."), key.split(".") if key else [])


def _words_match(pattern: Sequence[str], words: Sequence[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_words_match(pattern[1:], words[skip:]) for skip in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and _words_match(pattern[1:], words[1:])


class Routes:
    """The exchanges and their bindings. The default exchange reaches every queue by its name."""

    def __init__(self) -> None:
        self._exchanges: dict[str, Exchange] = {}
        self._bindings: dict[Binding, None] = {}  # a set that keeps its order

    def add_exchange(self, exchange: Exchange) -> str:
        """Add an exchange; says what is wrong if there is another one of that name, else ""."""
        known = self._exchanges.setdefault(exchange.name, exchange)
        if known == exchange:
            return ""
        return f"exchange {exchange.name} exists as {known.kind}, not as {exchange.kind}"

    def add_binding(self, binding: Binding) -> str:
        """Add a binding; says what is wrong if its exchange does not exist, else ""."""
        if binding.exchange not in self._exchanges:
            return f"no exchange {binding.exchange} to bind {binding.queue} to"
        self._bindings[binding] = None
        return ""

    def forget_queue(self, queue: str) -> None:
        """Remove every binding of a queue."""
        self._bindings = {b: None for b in self._bindings if b.queue != queue}

    def targets(self, exchange: str, key: str) -> list[str] | None:
        """Names of the queues bound for a key, each once; None if there is no such exchange."""
        if exchange == "":
            return [key]
        known = self._exchanges.get(exchange)
        if known is None:
            return None
        matches = topic_matches if known.kind == "topic" else str.__eq__
        bound = (b for b in self._bindings if b.exchange == exchange and matches(b.key, key))
        return list(dict.fromkeys(b.queue for b in bound))
