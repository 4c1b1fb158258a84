"""Training: loss, schedule, the Lightning module, and the run that ties them together."""
