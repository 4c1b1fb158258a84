"""The figures of the decoding engine against its peers: run ``benchmarks/decoding.py``."""
