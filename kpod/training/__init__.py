"""The engine: training loop, models, ranks, batches, forward passes, checkpoints. Imports config, text and below."""
