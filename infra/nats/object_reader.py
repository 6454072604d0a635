"""Reads one object of an object store into a file: a few chunks at a time, and never waiting for ever.

nats-py's own reading has the server push, and waits without a limit when the connection breaks; this one pulls.
"""

import asyncio
import hashlib
from base64 import urlsafe_b64encode
from contextlib import suppress
from typing import IO

from nats.aio.msg import Msg
from nats.js import api

from haulage.infra.nats.connection import Bus
from haulage.infra.nats.failures import AWAY
from haulage.infra.nats.puller import Puller
from haulage.infra.nats.streams import INPUTS_BUCKET

GROUP_CHUNKS = 32
"""Of 128 KiB each."""
STALL_SECONDS = 10.0

_STREAM = f"OBJ_{INPUTS_BUCKET}"


class IncompleteError(Exception):
    """Some of the object is missing, or is not what it was."""


class WriteError(Exception):
    """The file could not be written. Not an OSError, which nats-py raises where NATS can't be reached."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class ObjectReader:
    """Reads the object that `info` describes; once."""

    def __init__(self, bus: Bus, info: api.ObjectInfo) -> None:
        self._bus = bus
        self._info = info
        self._digest = hashlib.sha256()
        self._size = 0
        self._chunks = 0

    async def read_into(self, file: IO[bytes]) -> None:
        """Write all of it. `IncompleteError`, `WriteError`, what nats-py raises."""
        if self._info.size:
            await self._read_chunks(file)
        digest = f"SHA-256={urlsafe_b64encode(self._digest.digest()).decode()}"
        if self._size != (self._info.size or 0) or digest != self._info.digest:
            raise IncompleteError("its digest is not that of what was handed over")

    async def _read_chunks(self, file: IO[bytes]) -> None:
        subject = f"$O.{INPUTS_BUCKET}.C.{self._info.nuid}"
        consumer = await self._bus.jetstream.add_consumer(
            _STREAM,
            api.ConsumerConfig(
                filter_subject=subject, ack_policy=api.AckPolicy.NONE, mem_storage=True, inactive_threshold=60.0
            ),
        )
        if consumer.num_pending != self._info.chunks:
            raise IncompleteError(f"there are {consumer.num_pending} of its {self._info.chunks} chunks")
        puller = Puller(self._bus, _STREAM, consumer.name)
        try:
            while self._chunks < (self._info.chunks or 0):
                messages = await self._fetch(puller)
                await asyncio.to_thread(self._write, file, messages)
        finally:
            with suppress(*AWAY):
                await puller.close()
                await self._bus.jetstream.delete_consumer(_STREAM, consumer.name)

    async def _fetch(self, puller: Puller) -> list[Msg]:
        wanted = min(GROUP_CHUNKS, (self._info.chunks or 0) - self._chunks)
        messages = await puller.pull(wanted, STALL_SECONDS)
        if not messages:
            raise TimeoutError
        return messages

    def _write(self, file: IO[bytes], messages: list[Msg]) -> None:
        for message in messages:
            self._chunks += 1
            if message.metadata.sequence.consumer != self._chunks:
                raise ConnectionError("a piece was lost on the way")
            self._size += len(message.data)
            if self._size > (self._info.size or 0):
                raise IncompleteError("it is longer than what was handed over")
            self._digest.update(message.data)
            try:
                file.write(message.data)
            except OSError as error:
                raise WriteError(error) from error
