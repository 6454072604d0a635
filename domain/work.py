"""Work: what a worker is to do next, and the claim by which it may.

Work is not history. A row of it exists while something is to be done and is gone with the transaction that did it.
"""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class Task(StrEnum):
    """What is to be done."""

    PLAN = "plan"
    APPLY = "apply"
    COMPENSATE = "compensate"


@dataclass(frozen=True, slots=True)
class Work:
    """One piece of work. For `APPLY` and `COMPENSATE` the chunk `first..last` of `step`; for `PLAN` both are 0.

    `attempt` is the number of the next attempt, from 1; `chunk_version` the last version of the chunk's stream.
    """

    operation: UUID
    tenant: str
    kind: str
    definition_version: int
    task: Task
    step: str = ""
    first: int = 0
    last: int = 0
    priority: int = 0
    attempt: int = 1
    chunk_version: int = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """A session's right to one piece of work until it ends, gives it back, or is found dead.

    `session` and `epoch` are both compared whenever something is written under the claim: a claim is committed
    without waiting for the disk, so a crash of the database may hand out the same epoch again, to another session.
    """

    id: int
    epoch: int
    session: UUID
    work: Work
