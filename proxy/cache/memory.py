"""Kept answers of one worker: the least recently used go first when the bytes run out."""

from __future__ import annotations

from collections import OrderedDict

from proxy.cache.entry import Entry


class Memory:
    """Bounded by bytes. `hits`, `misses`, `evicted` and `size` are for whoever counts."""

    __slots__ = ("_entries", "evicted", "hits", "limit", "misses", "size")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self.hits = 0
        self.misses = 0
        self.evicted = 0
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"Memory({len(self)} answers, {self.size} of {self.limit} bytes)"

    @property
    def largest(self) -> int:
        """Bytes of one answer at most: a cache for one answer is none."""
        return self.limit // 4

    def get(self, key: bytes, now: float) -> Entry | None:
        """The answer, if it is there and not too old."""
        entry = self._entries.get(key)
        if entry is None:
            self.misses += 1
            return None
        if entry.until <= now:
            self.drop(key)
            self.misses += 1
            return None
        self._entries.move_to_end(key)
        self.hits += 1
        return entry

    def peek(self, key: bytes) -> Entry | None:
        """The answer, however old, and without counting as a use."""
        return self._entries.get(key)

    def put(self, key: bytes, entry: Entry) -> None:
        """Keeps an answer, and lets go of others where it does not fit beside them."""
        if entry.size > self.largest:
            return
        self.drop(key)
        self._entries[key] = entry
        self.size += entry.size
        while self.size > self.limit:
            _, oldest = self._entries.popitem(last=False)
            self.size -= oldest.size
            self.evicted += 1

    def drop(self, key: bytes) -> None:
        """Forgets an answer, if it is there."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.size -= entry.size
