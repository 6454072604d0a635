"""Leaving a command in the stream of submissions, for senders who don't wait for its receipt."""

from haulage.domain.commands import Command
from haulage.infra.nats import subjects
from haulage.infra.nats.connection import Bus
from haulage.infra.nats.messages import MESSAGE_ID, REPLY_TO, Headers, command_message
from haulage.infra.nats.streams import SUBMISSIONS


class SubmissionClient:
    """Leaves commands on a bus. May be used by any number of threads."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def submit(
        self, tenant: str, actor: str, command: Command, reply_to: str | None = None, headers: Headers | None = None
    ) -> int:
        """Leave `command`; its place in the stream. Buffered, not yet accepted: NATS may still lose it.

        A repeat within the stream's window is dropped there, a later one by the inbox. The answer goes to the inbox
        `reply_to`, if given. NotReachableError where the stream did not take it.
        """
        verb, made, body = command_message(command, headers)
        made |= {MESSAGE_ID: str(command.command_id)} | ({REPLY_TO: reply_to} if reply_to else {})
        publishing = self._bus.jetstream.publish(
            subjects.submission(tenant, actor, verb), body, stream=SUBMISSIONS, headers=made
        )
        with self._bus.reaching("submitting a command"):
            return self._bus.call(publishing).seq
