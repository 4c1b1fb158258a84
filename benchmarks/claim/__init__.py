"""The parts of ``benchmarks/central_claim.py``: what is asked, and the dedicated head that the decoder must equal."""
