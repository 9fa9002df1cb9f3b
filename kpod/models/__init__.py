"""Finished students: registry, lineage, reproduction, clean-up, export, serving. Imports retrain, run and below."""
