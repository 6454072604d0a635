"""Folds for readers: progress, ledger, timeline."""
