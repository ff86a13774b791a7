"""Configuration: raw, then validated, then compiled; three types, one direction, and requests only see the last.

`file.load` reads the YAML file into a `FileConfig`: rows (`proxy.ports`) beside settings. `tree` gives every value of
the file its line and column, `read` turns values into types, `schema` is the table of what may stand where.
`objects.parse` reads one config object (strategy, targets, retry …) from a file, a request header or the store into a
`Node` (`nodes`). Rows and nodes are what compilation starts from.
"""
