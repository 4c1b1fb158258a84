"""From files and objects to records (``readers``), to labelled examples (``source``), to batches of tensors
(``collate``).
"""
