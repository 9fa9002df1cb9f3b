"""The engine: models, ranks, batches, passes, checkpoints, the training loop. Imports methods, config and below."""
