"""Asking the query service."""

from typing import Any

import orjson

from haulage.domain.errors import HaulageError, NotFoundError, NotReachableError, RefusedError
from haulage.infra.nats import subjects
from haulage.infra.nats.connection import Bus
from haulage.infra.nats.messages import TRANSIENT
from haulage.infra.nats.queries import QUERIES, Query


class QueryClient:
    """Asks questions on a bus. May be used by any number of threads."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def ask(self, tenant: str, actor: str, query: Query, timeout_seconds: float = 10.0) -> Any:
        """The answer, as JSON values. NotFoundError and other refusals as they were told; NotReachableError."""
        verb = next(verb for verb, model in QUERIES.items() if type(query) is model)
        asking = self._bus.client.request(
            subjects.query(tenant, actor, verb), query.model_dump_json(exclude_none=True).encode(), timeout_seconds
        )
        with self._bus.reaching("asking a question"):
            answer = orjson.loads(self._bus.call(asking, timeout_seconds + 5).data)
        if not answer["ok"]:
            raise _refusal(answer["code"], answer["message"])
        return answer["answer"]


def _refusal(code: str, message: str) -> HaulageError:
    if code == NotFoundError.code:
        return NotFoundError(message)
    return NotReachableError(message) if code in TRANSIENT else RefusedError(message)
