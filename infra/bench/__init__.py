"""Benchmarks: Haulage beside raw SQL and beside a peer doing the same work, as ratios in one run on one machine.

A benchmark is never a timed test: nothing here passes or fails.
"""
