"""The engine: models, ranks, batches, passes, checkpoints. Imports config and below."""
