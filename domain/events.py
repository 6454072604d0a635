"""Every event Haulage records, by topic."""

from haulage.domain import chunk, operation
from haulage.domain.event import topics

EVENTS = topics([*operation.EVENTS, *chunk.EVENTS])
