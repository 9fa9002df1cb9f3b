"""Prefect flows: tables of contents over the stages of `kpod`."""
