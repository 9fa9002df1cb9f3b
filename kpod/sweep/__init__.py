"""Comparison of methods over seeds, datasets and students. Imports report, distill and below."""
