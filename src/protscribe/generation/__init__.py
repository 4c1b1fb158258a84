"""Decoding: compiled grammars, search, and the evidence that readouts are read from."""
