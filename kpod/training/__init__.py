"""The engine: the training loop, models, ranks, batches, passes, checkpoints. Imports config and below."""
