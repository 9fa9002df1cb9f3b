"""What comes after a run: registry, lineage, reproduce, clean, export. Imports retrain, run and below."""
