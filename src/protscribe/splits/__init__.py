"""Tables cut into training, validation and test rows, so that no protein of one has a relative in another."""

from protscribe.splits.run import SplitResult, split_file

__all__ = ["SplitResult", "split_file"]
