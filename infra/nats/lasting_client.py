"""nats-py's client, made to last."""

import asyncio
from collections.abc import Mapping

from nats.aio.client import Client
from nats.errors import ConnectionReconnectingError, Error
from nats.protocol.command import hpub_cmd

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
