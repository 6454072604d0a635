"""The language and the rules: events, aggregates, ports. Standard library and pydantic only."""
