"""NATS: commands in, events and progress out."""
