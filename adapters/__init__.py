"""Pure translation between the wire formats of model providers: bytes in, bytes out.

Five nouns live here. A `Dialect` is a wire format. A `Codec` translates one client dialect to one upstream dialect,
both ways; `codec()` below finds it in the registry. A `StreamDecoder` is the same for one streamed answer. A
`Provider` is a row of the table in `providers.py`. A `Call` is what a few looked-at fields of a request say.

Nothing here knows a socket, a clock or a random number: ids and times come in as arguments. Each dialect is a package
with the same four files: `wire` (the format's types), `request`, `response`, `stream`.
"""
