"""The simulator: the engine's own parts on ports in memory, a fake clock, and faults chosen by a seed."""
