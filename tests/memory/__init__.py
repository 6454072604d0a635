"""The engine's ports in memory, for tests: real transactions, claims and sessions, and a clock that a test moves."""

from memory.clock import FakeClock
from memory.database import InMemoryDatabase, WouldWaitError
from memory.directory import InMemoryDirectory
from memory.sessions import InMemorySession, reap
from memory.store import InMemoryStore, InMemoryUnit
from memory.waker import InMemoryWaker

__all__ = [
    "FakeClock",
    "InMemoryDatabase",
    "InMemoryDirectory",
    "InMemorySession",
    "InMemoryStore",
    "InMemoryUnit",
    "InMemoryWaker",
    "WouldWaitError",
    "reap",
]
