"""What a model is compared with: baselines, from the majority to networks on the same states."""
