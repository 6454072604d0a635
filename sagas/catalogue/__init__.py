"""The catalogue: the operations that come with Haulage."""
