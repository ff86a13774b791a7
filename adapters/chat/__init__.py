"""The chat side of every codec that serves chat clients on a provider of another dialect.

`request` reads the fields of a chat request (`fields` has those that are read alike everywhere, `choice` what it
chooses among its tools), `turns` walks its messages, `wire` holds its types and those of an answer, `response` and
`stream` tell an answer, whole and in chunks. What is a provider's own stands in its package. The other
direction, reading the answers of a provider that speaks chat, is `adapters.pivot`.
"""
