"""Finding a model's price: tables in order of authority, each a mapping of provider to model to entry.

The shipped table has a few thousand entries of which a gateway asks for a dozen. So it stays encoded: an entry is
decoded when it is first asked for, and workers share the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import msgspec

from adapters.values import UNREADABLE
from proxy.errors import PriceError
from proxy.prices.entry import Entry, scaled
from proxy.prices.rates import Price

_VENDORED = Path(__file__).parent / "prices.json"
_UNIT = "US dollars per million tokens; search and what is charged by the piece: for one"
_KEPT = 4096  # prices found and remembered; names come from clients, so there is an end to it
_DATED = re.compile(r"(?:-\d{4}-\d{2}-\d{2}|-\d{8}|@\d{8}|@default|@latest)\Z")
_TUNED = re.compile(r"ft:([^:]+):.+")
_REGION = re.compile(r"(?:us|eu|apac|jp|au|ca|in|global|us-gov)\.(?=[a-z0-9-]+\.)")
_decode_entry = msgspec.json.Decoder(Entry).decode

Entries = Mapping[str, Mapping[str, Entry | msgspec.Raw]]


class Table(msgspec.Struct, frozen=True):
    """Prices from one place. `version` is the first half of every price id; `source`, `date` and `licence` say where
    they are from. Model names may be shell patterns, which are looked at in order when no name fits."""

    version: str
    providers: Entries
    source: str = ""
    date: str = ""
    licence: str = ""

    def entry(self, provider: str, model: str) -> tuple[str, Entry] | None:
        """The entry that stands under this name, and the name."""
        models = self.providers.get(provider)
        found = None if models is None else models.get(model)
        return None if found is None else (model, _decoded(found))

    def fitting(self, provider: str, model: str) -> tuple[str, Entry] | None:
        """The first entry whose pattern the name fits, and the pattern."""
        for pattern, found in self.providers.get(provider, {}).items():
            if "*" in pattern and fnmatchcase(model, pattern):
                return pattern, _decoded(found)
        return None


class Prices:
    """All tables, the most authoritative first. Immutable but for what it remembers."""

    def __init__(self, tables: Iterable[Table] = ()) -> None:
        self.tables = tuple(tables)
        self._books: dict[tuple[str, str | None], Book] = {}

    def find(self, provider: str, model: str | None) -> Price | None:
        """The price of a provider's model, by the provider's name for it; None where it is not known."""
        return None if not model else self.of(provider).find(model)

    def of(self, provider: str, region: str | None = None) -> Book:
        """The prices of one provider, for whoever asks again and again; at a place, where that may make them dearer."""
        book = self._books.get((provider, region))
        if book is None:
            book = self._books[provider, region] = Book(provider, self.tables, region)
        return book


class Book:
    """One provider's prices; each found once and then remembered."""

    __slots__ = ("_all", "_found", "_patterned", "_provider", "_region", "_tables")

    def __init__(
        self, provider: str, tables: tuple[Table, ...], region: str | None = None, *, follows: bool = True
    ) -> None:
        """`follows`: whether an entry may name another one, which may not do so again."""
        self._provider = provider
        self._region = region
        self._all = tables if follows else ()
        self._tables = tuple(table for table in tables if provider in table.providers)
        self._patterned = tuple(
            table for table in self._tables if any("*" in model for model in table.providers[provider])
        )
        self._found: dict[str, Price | None] = {}

    def find(self, model: str) -> Price | None:
        """The price of a model, by the provider's name for it; None where it is not known."""
        try:
            return self._found[model]
        except KeyError:
            pass
        price = self._look(model)
        if len(self._found) >= _KEPT:
            self._found.clear()
        self._found[model] = price
        return price

    def _look(self, model: str) -> Price | None:
        for table in self._tables:
            found = table.entry(self._provider, model)
            if found is None and table in self._patterned:
                found = table.fitting(self._provider, model)
            if found is not None:
                return self._price(table, found)
        for name in _near(self._provider, model):
            for table in self._tables:
                found = table.entry(self._provider, name)
                if found is not None:
                    return self._price(table, found)
        return None

    def same(self, name: str) -> Price | None:
        """The price of what an entry's `same_as` names; None where that is not known."""
        other, _, rest = name.partition("/")
        for provider, model in ((self._provider, name), (other, rest)):
            price = Book(provider, self._all, self._region, follows=False).find(model) if model else None
            if price is not None:
                return price
        return None

    def _price(self, table: Table, found: tuple[str, Entry]) -> Price | None:
        name, entry = found
        if entry.same_as is not None:
            return self.same(entry.same_as)
        id = f"{table.version}:{self._provider}/{name}"
        factor = 1.0 if self._region is None else entry.regions.get(self._region, 1.0)
        return Price(id, entry) if factor == 1.0 else Price(f"{id}@{self._region}", scaled(entry, factor))


def _near(provider: str, model: str) -> Iterable[str]:
    """Names under which the same model may stand: without its date, its owner's fine-tuning id, or its region."""
    if model.startswith("models/"):
        model = model[7:]
        yield model
    tuned = _TUNED.fullmatch(model)
    if tuned is not None:
        # Tuned models have prices of their own, and only those.
        yield f"ft:{tuned[1]}"
        return
    if provider == "bedrock":
        model, cut = _REGION.subn("", model, count=1)
        if cut:
            yield model
    if _DATED.search(model):
        yield _DATED.sub("", model)


def _decoded(found: Entry | msgspec.Raw) -> Entry:
    return found if isinstance(found, Entry) else _decode_entry(found)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table as it is written."""

    version: str
    providers: dict[str, dict[str, msgspec.Raw]]
    source: str = ""
    date: str = ""
    licence: str = ""
    unit: str = _UNIT


class _Whole(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The same, every entry decoded: what a check wants."""

    version: str
    providers: dict[str, dict[str, Entry]]
    source: str = ""
    date: str = ""
    licence: str = ""
    unit: str = "US dollars per million tokens"


def decode_table(text: bytes) -> Table:
    """A table from its JSON, every entry checked. Raises PriceError that says where the first mistake is."""
    try:
        whole = msgspec.json.decode(text, type=_Whole)
    except UNREADABLE as error:
        raise PriceError(f"not a table of prices: {error}") from error
    for provider, models in whole.providers.items():
        for model, entry in models.items():
            if not entry.complete:
                raise PriceError(f"{provider}/{model}: needs the price of an input token ('input'), or of a piece")
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", whole.version):
        raise PriceError("version: up to 64 letters, digits, '.', '_' or '-'")
    return Table(whole.version, whole.providers, whole.source, whole.date, whole.licence)


def read_table(text: bytes) -> Table:
    """A table that was checked before, its entries still encoded. Raises PriceError."""
    try:
        read = msgspec.json.decode(text, type=_File)
    except UNREADABLE as error:
        raise PriceError(f"not a table of prices: {error}") from error
    return Table(read.version, read.providers, read.source, read.date, read.licence)


def as_json(table: Table) -> bytes:
    """The table as it is written, one model a line: made to be read and compared."""
    lines = []
    for provider in sorted(table.providers):
        models = table.providers[provider]
        entries = [f"    {_json(model)}: {msgspec.json.encode(models[model]).decode()}" for model in sorted(models)]
        lines.append(f"  {_json(provider)}: {{\n" + ",\n".join(entries) + "\n  }")
    head = {"version": table.version, "date": table.date, "source": table.source, "licence": table.licence}
    head["unit"] = _UNIT
    top = ",\n".join(f" {_json(name)}: {_json(value)}" for name, value in head.items() if value)
    return ("{\n" + top + ',\n "providers": {\n' + ",\n".join(lines) + "\n }\n}\n").encode()


def _json(text: str) -> str:
    return msgspec.json.encode(text).decode()


def table_of(version: str, entries: Iterable[tuple[str, str, Entry]]) -> Table:
    """A table from (provider, model, entry)."""
    providers: dict[str, dict[str, Entry | msgspec.Raw]] = {}
    for provider, model, entry in entries:
        providers.setdefault(provider, {})[model] = entry
    return Table(version, providers)


@cache
def vendored() -> Table:
    """The table that this version ships with. Read once; read it before forking and all workers share it."""
    return read_table(_VENDORED.read_bytes())
