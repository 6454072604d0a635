"""Groups: commands are handled many at a time, since one transaction for all of them costs little more than for one."""

from collections.abc import Callable, Sequence

import structlog

from haulage.domain.errors import HaulageError, RefusedError
from haulage.infra.nats.messages import TRANSIENT, Received, Reply, refusal

GROUP_LIMIT = 256
"""Commands handled together at most."""

Handler = Callable[[Sequence[Received]], Sequence[Reply]]
"""Handles a group and answers each of it, in its order, after the commit. Called in a thread that may block."""

_log = structlog.get_logger("haulage.bus")


def handled(handle: Handler, group: Sequence[Received]) -> list[Reply]:
    """One reply for each, whatever `handle` raises.

    A group that fails for a reason nobody foresaw is handled one by one, so that one poisonous command costs its
    neighbours nothing but time. Repeats are harmless: what was committed is answered from its receipt.
    """
    try:
        replies = list(handle(group))
        if len(replies) != len(group):
            raise ValueError(f"{len(group)} commands were handled and {len(replies)} answered")
        return replies
    except Exception as error:  # noqa: BLE001 - the service goes on whatever a command does to the handler
        if len(group) == 1:
            return [_failure(group[0], error)]
        if isinstance(error, HaulageError) and not isinstance(error, RefusedError):
            # The database is away, or busy: true for all of them.
            return [_failure(one, error) for one in group]
        return [reply for one in group for reply in handled(handle, [one])]


def _failure(command: Received, error: Exception) -> Reply:
    if isinstance(error, RefusedError):
        return refusal(error)
    if isinstance(error, HaulageError):
        return Reply(ok=False, code=error.code if error.code in TRANSIENT else "error", message=str(error))
    _log.error("a command could not be handled", tenant=command.tenant, verb=command.verb, exc_info=error)
    return Reply(ok=False, code="error", message="The command could not be handled; the log of Haulage says why.")
