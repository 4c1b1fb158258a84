"""Predictions as files: tables, JSON lines, GFF3 and three-line text, chosen by suffix. Writing imports no torch.

=======================  ==========================================================================================
suffix                   what a file holds
=======================  ==========================================================================================
.csv .tsv .parquet       one row a prediction: id, task, prediction, score, what the score means, status, ...
.residues.csv, -.tsv,    one row a residue of every answer about residues: id, task, position, residue, label, score
-.parquet
.jsonl                   one JSON object a prediction, with typed values and all probabilities
.gff3                    features on the proteins, for genome and protein browsers
.3line                   id, sequence and one character a residue, for answers about residues
=======================  ==========================================================================================

Ids are written as they were read, positions count from 1. A file appears under its name when it is complete, or not at all.
"""

from protscribe.outputs.files import FORMATS, format_of, open_outputs, rejected_path, write_predictions
from protscribe.outputs.run import PredictFileResult, predict_file

__all__ = [
    "FORMATS",
    "PredictFileResult",
    "format_of",
    "open_outputs",
    "predict_file",
    "rejected_path",
    "write_predictions",
]
