"""The network: attention, decoder, model. Ids in, logits out; it knows no task."""
