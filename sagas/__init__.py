"""Definitions and decisions over time: process manager, executor, catalogue."""
