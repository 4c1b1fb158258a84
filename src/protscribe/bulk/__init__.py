"""Batch inference over inputs of any size, cut into shards, that any interruption leaves resumable.

A folder of answers begins with a *plan*: what is read, which bundle is asked what, and where each *shard* of the input begins
and ends. A shard is committed whole, with a sealed file that holds the digests of what belongs to it; running the same
command again does what is missing. :func:`merge` makes one file of it, :func:`read_status` says how far it is. Nothing
imported here loads
torch: only what runs a model does.
"""

from protscribe.bulk.merging import MergeResult, merge
from protscribe.bulk.plan import Plan, read_plan
from protscribe.bulk.probe import Estimate, estimate
from protscribe.bulk.run import FolderResult, predict_folder
from protscribe.bulk.status import Status, read_status

__all__ = [
    "Estimate",
    "FolderResult",
    "MergeResult",
    "Plan",
    "Status",
    "estimate",
    "merge",
    "predict_folder",
    "read_plan",
    "read_status",
]
