"""Trained models: the recorded maps of the package are computed again from their weights."""
