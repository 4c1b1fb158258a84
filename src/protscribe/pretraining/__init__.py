"""Pretraining of the embedded encoder on unlabelled sequences: corpus, masking, training, and what it is worth."""
