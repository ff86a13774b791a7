"""What tokens cost: a dated table, and what operators lay over it.

    prices = Prices((vendored(),))
    price = prices.find("openai", "gpt-4o-mini")     # None: not known, which is not the same as free
    price.cost(usage)                                # US dollars

`rates` is arithmetic, `table` finds a model's entry, `litellm` reads the list that the shipped table is made from.
"""

from __future__ import annotations

from proxy.prices.entry import PIECES, TIERS, Entry, Rates, Tier
from proxy.prices.pieces import DEAREST
from proxy.prices.rates import DEARER, Price
from proxy.prices.table import Book, Prices, Table, as_json, decode_table, read_table, table_of, vendored

__all__ = [
    "DEARER",
    "DEAREST",
    "PIECES",
    "TIERS",
    "Book",
    "Entry",
    "Price",
    "Prices",
    "Rates",
    "Table",
    "Tier",
    "as_json",
    "decode_table",
    "read_table",
    "table_of",
    "vendored",
]
