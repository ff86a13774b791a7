"""Each phase of a request alone, without a socket: what it costs in Python, and what in bytecodes."""
