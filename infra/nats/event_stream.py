"""The stream of events, as the relay sees it: what is in it, and the next messages, in order or not at all.

The first message of a group says which sequence the stream must end with before it, every other one which message must
be the one before. A message that is lost or refused therefore takes all that follow with it, so the acknowledgement of
the last speaks for every one; and nobody else gets between two of them. (The sequence alone would not do: where a
foreign message has taken the place of the first, the second fits behind it.)
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from nats.js.errors import APIError, NoStreamResponseError, NotFoundError

from haulage.infra.nats.connection import Bus
from haulage.infra.nats.events import EventMessage
from haulage.infra.nats.messages import EXPECTED_LAST_MESSAGE_ID, EXPECTED_LAST_SEQUENCE, MESSAGE_ID, POSITION
from haulage.infra.nats.streams import EVENTS, Streams

ACK_SECONDS = 10.0
BREATH_MESSAGES = 100
"""After so many, others on the loop have a turn."""

LOOK_BACK_MESSAGES = 256
"""How many foreign messages at the end are passed over to find one of ours."""

_NOT_AS_EXPECTED = (10070, 10071, 10164)  # wrong last message id, wrong last sequence (twice)


class OutOfStepError(Exception):
    """The stream is not where it was thought to be: look again."""


@dataclass(frozen=True, slots=True)
class Tail:
    """How far the stream is. `sequence` is that of the last message it ever had, even if it has none any more."""

    sequence: int
    messages: int


@dataclass(frozen=True, slots=True)
class Published:
    """A message of the stream that calls itself an event. Whether it is one, only the log knows."""

    sequence: int
    position: int
    event_id: str


class EventStream:
    """`haulage-events`. Its coroutines run on the bus's loop and raise what nats-py raises, if nothing else is said."""

    def __init__(self, bus: Bus, kept: Streams) -> None:
        self._bus = bus
        self._kept = kept

    async def tail(self) -> Tail:
        """How far it is; an empty one is made where there is none."""
        try:
            state = (await self._bus.jetstream.stream_info(EVENTS)).state
        except NotFoundError:
            await self._kept.ensure()
            state = (await self._bus.jetstream.stream_info(EVENTS)).state
        return Tail(state.last_seq, state.messages)

    async def at(self, sequence: int) -> Published | None:
        """The message there; None where there is none, or none of ours."""
        try:
            message = await self._bus.jetstream.get_msg(EVENTS, sequence)
        except NotFoundError:
            return None
        headers = message.headers or {}
        position = headers.get(POSITION, "")
        # Only such as could stand in the log: whoever may publish here could write anything.
        if not (position.isascii() and position.isdigit() and len(position) < 19):
            return None
        return Published(sequence, int(position), headers.get(MESSAGE_ID, ""))

    async def newest(self, last: int, first: int) -> Published | None:
        """The newest message from the sequence `last` back to `first` that calls itself an event."""
        for sequence in range(last, max(first, 1) - 1, -1):
            published = await self.at(sequence)
            if published is not None:
                return published
        return None

    async def last_position(self) -> int | None:
        """The last position published, whichever history it is of; None where there is none. For `settle_history`.

        NotReachableError where NATS is away.
        """
        with self._bus.reaching("looking at the stream of events"):
            last = (await self.tail()).sequence
            published = await self.newest(last, last - LOOK_BACK_MESSAGES)
        return published.position if published else None

    async def publish(self, messages: Sequence[EventMessage], after: int) -> int:
        """Put `messages` behind the sequence `after`; the sequence of the last. `OutOfStepError` where it is not so.

        What was stored of them before an error is a beginning of them, in order.
        """
        expected = {EXPECTED_LAST_SEQUENCE: str(after)}
        for offset, message in enumerate(messages[:-1]):
            await self._bus.client.publish_clean(message.subject, message.body, message.headers | expected)
            expected = {EXPECTED_LAST_MESSAGE_ID: message.headers[MESSAGE_ID]}
            if offset % BREATH_MESSAGES == 0:
                await asyncio.sleep(0)
        last, _ = await self._store(messages[-1], expected)
        if last != after + len(messages):
            raise OutOfStepError
        return last

    async def publish_singly(self, messages: Sequence[EventMessage], after: int) -> int:
        """As `publish`, but passing over messages that the stream recognises by their id as already there."""
        for message in messages:
            last, is_new = await self._store(message, {EXPECTED_LAST_SEQUENCE: str(after)})
            after = last if is_new else after
        return after

    async def _store(self, message: EventMessage, expected: dict[str, str]) -> tuple[int, bool]:
        headers = message.headers | expected
        try:
            ack = await self._bus.jetstream.publish(
                message.subject, message.body, timeout=ACK_SECONDS, stream=EVENTS, headers=headers
            )
        except NoStreamResponseError:
            raise OutOfStepError from None
        except APIError as error:
            if error.err_code in _NOT_AS_EXPECTED:
                raise OutOfStepError from None
            raise
        return ack.seq, not ack.duplicate
