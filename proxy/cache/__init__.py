"""Answers kept and shared, so that a question that was asked before costs nothing.

`key` says which requests are the same question: it always begins with whose they are. `memory` keeps answers of one
worker under a bound of bytes, `shared` those of all hosts in Redis. `flight` makes one upstream call for all who ask
the same at the same time, and hands them its bytes as they come; `peers` carries that over the workers of one host.
`answers` is the whole: what the forwarder asks instead of a target, where a config says `cache`.

Only whole, good answers are kept: no errors, nothing cut short, nothing that calls a tool. They are kept in the
client's dialect, put together where they came as a stream, and told again in whichever way a caller wants.
"""
