"""How good the answers are: metrics with intervals, baselines beside them, readouts chosen on validation data, reports."""
