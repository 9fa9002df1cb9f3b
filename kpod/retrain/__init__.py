"""Retraining when questions arrive, and the gate in front of the champion. Imports run, evaluate and below."""
