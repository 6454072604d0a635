"""nats-py's client, made to last: through whatever the server says and whatever others send."""

import asyncio
import re
from collections.abc import Mapping

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ConnectionReconnectingError, Error
from nats.protocol import parser
from nats.protocol.command import hpub_cmd

# The library takes any white space for the end of a subject; in the protocol, and to the server, that is blanks and
# tabs. With a vertical tab in a subject, anybody who may publish could break our connection, again and again.
parser.MSG_RE = re.compile(rb"\AMSG[ \t]+([^ \t\r\n]+)[ \t]+(\d+)[ \t]+(([^ \t\r\n]+)[ \t]+)?(\d+)\r\n")
parser.HMSG_RE = re.compile(rb"\AHMSG[ \t]+([^ \t\r\n]+)[ \t]+(\d+)[ \t]+(([^ \t\r\n]+)[ \t]+)?(\d+)[ \t]+(\d+)\r\n")

RETRY_SECONDS = 0.25
"""Between two attempts to connect."""


class LastingClient(Client):
    """nats-py's client, which gives up in cases where ours must not.

    The overrides are of private methods, since there is no public way; checked with nats-py 2.16.
    """

    async def publish_clean(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> None:
        """`publish` for a subject and headers of our own making.

        The library looks for line breaks in every name and value, which takes it longer than everything else together.
        """
        if not self.is_connected:
            raise ConnectionReconnectingError
        lines = "\r\n".join([f"{name}: {value}" for name, value in headers.items()])
        head = f"NATS/1.0\r\n{lines}\r\n\r\n".encode()
        await self._send_command(hpub_cmd(subject, "", head, payload))
        if self._flush_queue is not None and self._flush_queue.empty():
            await self._flush_pending()

    async def _process_err(self, err_msg: str) -> None:
        # The original closes the connection for good at any error but a missing permission. A server that restarts
        # with other users, or reloads, says such things and is fine a second later.
        if "permissions violation" in err_msg.lower():
            await super()._process_err(err_msg)
        else:
            error = Error(f"nats: {err_msg}")
            await self._error_cb(error)
            await self._process_op_err(error)

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        # The original raises for headers that no library would send, which ends its reading.
        try:
            return await super()._process_headers(headers)
        except Exception as error:  # noqa: BLE001 - a message without headers, then
            await self._error_cb(error)
            return None

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        # So does the original for a subject that is not UTF-8. Ours is none of our subjects then, and is refused.
        return self.msg_class(
            subject=subject.decode(errors="replace"),
            reply=reply.decode(errors="replace"),
            data=data,
            headers=headers,
            _client=self,
            _sid=sid,
        )

    async def _process_pong(self) -> None:
        # The original ends its reading when the answer comes to a flush that was given up on.
        if self._pongs and self._pongs[0].done():
            self._pongs.pop(0)
            self._pings_outstanding = 0
        else:
            await super()._process_pong()

    async def _attempt_reconnect(self) -> None:
        # The original expects network errors only; any other ends its task, and with it the reconnecting.
        while True:
            try:
                return await super()._attempt_reconnect()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next attempt may succeed
                await self._error_cb(error)
                await asyncio.sleep(RETRY_SECONDS)
