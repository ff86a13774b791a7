"""Every client dialect towards every upstream dialect, driven by the official SDKs over real sockets.

`cases` says what is asked and answered, in words that no dialect owns. `wire` renders the answers in each upstream
dialect, by itself and not with the gateway's codecs; `upstream` serves them. `clients` asks with the SDKs and tells
what they read. `table` says which cells there are, and makes the page in the docs of them.
"""
