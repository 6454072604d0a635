"""Pulls messages of a consumer, a group at a time.

nats-py's own pulling takes every message with a header `Status` for word from the server, and drops it: whoever may
publish could have a stream full of messages that are delivered again and again and never handled. Here word from the
server is what comes to our inbox's own subject.
"""

import json
import time
from typing import Any

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.errors import APIError

from haulage.infra.nats.connection import Bus

QUIET_SECONDS = 0.2
"""So long after a message, the server has sent what it had."""

_NOTHING_THERE = ("404", "408")


class Puller:
    """Pulls from one consumer. For one coroutine at a time."""

    def __init__(self, bus: Bus, stream: str, consumer: str) -> None:
        self._bus = bus
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._inbox = bus.client.new_inbox()
        self._subscription: Subscription | None = None

    async def pull(self, limit: int, wait_seconds: float) -> list[Msg]:
        """Up to `limit` messages: what is there, or else the first that comes within `wait_seconds`.

        APIError where the consumer or the stream is gone.
        """
        there = await self._request({"batch": limit, "no_wait": True}, limit, QUIET_SECONDS)
        if there:
            return there
        expires = int(wait_seconds * 1e9)
        return await self._request({"batch": 1, "expires": expires}, 1, wait_seconds + QUIET_SECONDS)

    async def close(self) -> None:
        """Listen no more."""
        if self._subscription is not None:
            await self._subscription.unsubscribe()
            self._subscription = None

    async def _request(self, request: dict[str, Any], limit: int, seconds: float) -> list[Msg]:
        if self._subscription is None:
            self._subscription = await self._bus.subscribe(self._inbox)
        await self._bus.client.publish(self._next, json.dumps(request).encode(), reply=self._inbox)
        messages: list[Msg] = []
        deadline = time.monotonic() + seconds
        while len(messages) < limit:
            try:
                message = await self._subscription.next_msg(max(0.001, deadline - time.monotonic()))
            except TimeoutError:
                break
            if message.subject == self._inbox:
                if messages or _is_the_end(message):
                    break
                continue
            messages.append(message)
            deadline = time.monotonic() + QUIET_SECONDS
        return messages


def _is_the_end(message: Msg) -> bool:
    """Whether the server says that there is no more for now; other news is an APIError, a heartbeat no news."""
    headers = message.headers or {}
    status = headers.get("Status", "")
    if status == "100":
        return False
    if status in _NOTHING_THERE:
        return True
    raise APIError(code=int(status) if status.isdigit() else 500, description=headers.get("Description", ""))
