"""Input files and rejects files."""
