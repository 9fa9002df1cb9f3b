"""Retraining: new questions in, a grown dataset, and the gate between challenger and champion."""
