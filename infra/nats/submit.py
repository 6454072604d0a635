"""Submissions: commands left in a stream by senders who don't wait, handled by the same intake as requests.

Acknowledged by the stream means buffered, not stored: the sender repeats with its command id until it sees the answer
(on the inbox named in `Haulage-Reply-To`) or the operation's first event.

Crash story.
1. Died before the handler committed: the stream delivers again after `ACK_WAIT_SECONDS`.
2. Died after the commit, before the acknowledgement: delivered again, answered from the receipt, acknowledged.
3. The database is away: given back with a pause that grows; nothing is taken out of the stream.
4. What is no command goes to the stream `haulage-quarantine`, with the reason, before it is taken out.
"""

from collections.abc import Sequence

import structlog
from nats.aio.msg import Msg
from nats.js import api
from nats.js.errors import APIError, NotFoundError

from haulage.domain.errors import RefusedError
from haulage.infra.nats import subjects
from haulage.infra.nats.connection import Bus
from haulage.infra.nats.groups import GROUP_LIMIT, Handler, handled
from haulage.infra.nats.messages import (
    MESSAGE_ID,
    ORIGINAL_SUBJECT,
    REASON,
    REPLY_TO,
    Received,
    Reply,
    is_inbox,
    received,
    refusal,
    trace_of,
)
from haulage.infra.nats.puller import Puller
from haulage.infra.nats.streams import SUBMISSIONS, Streams

CONSUMER = "haulage-intake"
ACK_WAIT_SECONDS = 30.0
LONGEST_PAUSE_SECONDS = 30.0

_log = structlog.get_logger("haulage.bus")


class SubmissionReader:
    """Handles what was submitted. Any number of processes share the durable consumer.

    `run_once` waits on the bus itself, for up to `wait_seconds`: run it in a loop of its own.
    """

    def __init__(self, bus: Bus, kept: Streams, handle: Handler, *, wait_seconds: float = 1.0) -> None:
        self._bus = bus
        self._kept = kept
        self._handle = handle
        self._wait_seconds = wait_seconds
        self._puller: Puller | None = None

    def run_once(self) -> int:
        """Handle the next submissions, if any; how many were dealt with. NotReachableError where NATS is away."""
        if not self._bus.ready("reading submissions"):
            return 0
        with self._bus.reaching("reading submissions"):
            messages = self._bus.call(self._fetch(), self._wait_seconds + 15)
            commands = self._bus.call(self._sort(messages))
        # Those that are new together; one that was delivered before alone, since it may be what broke its group.
        fresh = [one for one in commands if one[0].metadata.num_delivered == 1]
        groups = [fresh] if fresh else []
        groups += [[one] for one in commands if one[0].metadata.num_delivered != 1]
        for group in groups:
            replies = handled(self._handle, [command for _, command in group])
            with self._bus.reaching("answering submissions"):
                self._bus.call(self._settle(group, replies))
        return len(messages)

    async def _fetch(self) -> Sequence[Msg]:
        if self._puller is None:
            await self._make_consumer()
            self._puller = Puller(self._bus, SUBMISSIONS, CONSUMER)
        try:
            return await self._puller.pull(GROUP_LIMIT, self._wait_seconds)
        except APIError:
            # The consumer or its stream is gone; both are made anew.
            await self._puller.close()
            self._puller = None
            raise

    async def _make_consumer(self) -> None:
        config = api.ConsumerConfig(
            durable_name=CONSUMER,
            ack_policy=api.AckPolicy.EXPLICIT,
            ack_wait=ACK_WAIT_SECONDS,
            max_ack_pending=4 * GROUP_LIMIT,
            max_deliver=-1,
            filter_subject=subjects.SUBMISSIONS,
        )
        try:
            await self._bus.jetstream.add_consumer(SUBMISSIONS, config)
        except NotFoundError:
            await self._kept.ensure()
            await self._bus.jetstream.add_consumer(SUBMISSIONS, config)

    async def _sort(self, messages: Sequence[Msg]) -> list[tuple[Msg, Received]]:
        commands = []
        for message in messages:
            try:
                command = received(subjects.parse_address(message.subject), message.data, message.headers)
                _ = command.command
                commands.append((message, command))
            except RefusedError as error:
                await self._quarantine(message, error)
        return commands

    async def _quarantine(self, message: Msg, error: RefusedError) -> None:
        place, stored = message.metadata.sequence.stream, message.metadata.timestamp
        headers = {
            # Told again after a crash between the two steps, it is there once. A stream made anew counts from 1 again.
            MESSAGE_ID: f"{SUBMISSIONS}-{place}-{stored.timestamp()}",
            REASON: str(error)[:1000],
            ORIGINAL_SUBJECT: message.subject[:1000],
        }
        # The last byte of a message that just fits is not worth a message that never goes away.
        body = message.data if self._bus.fits(headers, message.data) else message.data[: len(message.data) // 2]
        await self._bus.jetstream.publish(subjects.quarantine("submit"), body, headers=headers)
        await self._answer(message, refusal(error))
        await message.term()
        _log.warning("a submission is no command", stream=SUBMISSIONS, sequence=place, why=str(error)[:200])

    async def _settle(self, group: Sequence[tuple[Msg, Received]], replies: Sequence[Reply]) -> None:
        for (message, _), reply in zip(group, replies, strict=True):
            if reply.final:
                await self._answer(message, reply)
                await message.ack()
            else:
                await message.nak(delay=min(2.0 ** min(message.metadata.num_delivered, 10), LONGEST_PAUSE_SECONDS))

    async def _answer(self, message: Msg, reply: Reply) -> None:
        headers = message.headers or {}
        to = headers.get(REPLY_TO)
        if to is not None and is_inbox(to):
            await self._bus.client.publish(to, reply.to_json(), headers=trace_of(headers) or None)
