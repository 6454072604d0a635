"""Streams and buckets: what JetStream keeps for us, for how long, and how much.

`ensure` may be called at any time, by any number of processes: it creates what is missing and updates what differs.
Replicas and placement of a stream that exists are left as they are: those are the operator's.
"""

from dataclasses import dataclass, replace
from typing import Any

import structlog
from nats.errors import NoRespondersError
from nats.js import api
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from haulage.domain.errors import HaulageError, NotReachableError
from haulage.infra.nats import subjects
from haulage.infra.nats.connection import Bus

EVENTS = "haulage-events"
SUBMISSIONS = "haulage-submit"
QUARANTINE = "haulage-quarantine"
PROGRESS_BUCKET = "haulage-progress"
INPUTS_BUCKET = "haulage-inputs"

DEDUPLICATE_SECONDS = 120.0

_DAY = 24 * 3600.0
_MB = 1024 * 1024
_SMALLEST_BYTES = 4 * _MB
_NO_ROOM = (10023, 10047)  # insufficient resources; insufficient storage resources
_OVERLAP = 10065
_IN_USE = 10058

_UPDATED = ("subjects", "max_age", "max_bytes", "discard", "duplicate_window", "allow_direct", "max_msgs_per_subject")

_log = structlog.get_logger("haulage.bus")


class StreamError(HaulageError):
    """JetStream can't keep what we need it to keep; the sentence says what to do about it."""

    code = "bus"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How long and how much. Bytes are upper limits that the server reserves: where it has less, we take less."""

    events_seconds: float = 14 * _DAY
    events_bytes: int = 2048 * _MB
    submissions_seconds: float = 14 * _DAY
    submissions_bytes: int = 256 * _MB
    quarantine_seconds: float = 14 * _DAY
    quarantine_bytes: int = 64 * _MB
    progress_seconds: float = 14 * _DAY
    progress_bytes: int = 128 * _MB
    inputs_seconds: float = 14 * _DAY
    inputs_bytes: int = 4096 * _MB
    replicas: int = 1


class Streams:
    """The streams and buckets of one Haulage."""

    def __init__(self, bus: Bus, sizes: Sizes | None = None) -> None:
        self._bus = bus
        self.sizes = sizes or Sizes()

    def keep(self) -> None:
        """Ensure after each connection that is made, since NATS may come back without them; and now, if there is one.

        Without one it returns at once. `StreamError`, NotReachableError.
        """
        self._bus.on_connection(self.ensure, now=False)
        if self._bus.connected:
            with self._bus.reaching("looking after its streams"):
                self._bus.call(self.ensure())

    async def ensure(self) -> None:
        """Create what is missing, update what differs. `StreamError`, or what nats-py raises where NATS is away."""
        try:
            await self._refuse_captured(subjects.COMMANDS)
            await self._refuse_captured(subjects.QUERIES)
            # The small ones first: where room is short, none of them is left without.
            for config in sorted(self._wanted(), key=lambda config: config.max_bytes or 0):
                await self._ensure(config)
        except (ServiceUnavailableError, NoRespondersError):
            raise NotReachableError(
                f"NATS at {self._bus.where} has no JetStream ready. Start nats-server with `-js`, or wait for it."
            ) from None

    def _wanted(self) -> list[api.StreamConfig]:
        size = self.sizes
        return [
            self._stream(EVENTS, [subjects.EVENTS], size.events_seconds, size.events_bytes),
            self._stream(
                SUBMISSIONS,
                [subjects.SUBMISSIONS],
                size.submissions_seconds,
                size.submissions_bytes,
                # Gone when handled; and a full stream refuses the next, rather than drop one it has acknowledged.
                retention=api.RetentionPolicy.WORK_QUEUE,
                discard=api.DiscardPolicy.NEW,
            ),
            self._stream(QUARANTINE, [subjects.QUARANTINE], size.quarantine_seconds, size.quarantine_bytes),
            # A bucket is a stream by the conventions of ADR-8, but a full one drops the progress that is oldest.
            self._stream(
                f"KV_{PROGRESS_BUCKET}",
                [f"$KV.{PROGRESS_BUCKET}.>"],
                size.progress_seconds,
                size.progress_bytes,
                max_msgs_per_subject=1,
                allow_rollup_hdrs=True,
                deny_delete=True,
            ),
            # An object store is one by those of ADR-20.
            self._stream(
                f"OBJ_{INPUTS_BUCKET}",
                [f"$O.{INPUTS_BUCKET}.C.>", f"$O.{INPUTS_BUCKET}.M.>"],
                size.inputs_seconds,
                size.inputs_bytes,
                discard=api.DiscardPolicy.NEW,
                allow_rollup_hdrs=True,
            ),
        ]

    def _stream(self, name: str, of: list[str], seconds: float, max_bytes: int, **more: Any) -> api.StreamConfig:
        return api.StreamConfig(
            name=name,
            subjects=of,
            max_age=seconds,
            max_bytes=max_bytes,
            storage=api.StorageType.FILE,
            num_replicas=self.sizes.replicas,
            duplicate_window=min(DEDUPLICATE_SECONDS, seconds),
            allow_direct=True,
            **{"retention": api.RetentionPolicy.LIMITS, "discard": api.DiscardPolicy.OLD, **more},
        )

    async def _ensure(self, wanted: api.StreamConfig) -> None:
        jetstream, name = self._bus.jetstream, wanted.name or ""
        try:
            present = (await jetstream.stream_info(name)).config
        except NotFoundError:
            return await self._create(wanted)
        changed = _changes(present, wanted)
        if not changed:
            return None
        try:
            await jetstream.update_stream(replace(present, **changed))
        except APIError as error:
            # What is there still serves. A room that was cut because there is no more is not worth a word each time.
            if error.err_code not in _NO_ROOM:
                _log.warning("a stream stays as it is", stream=name, wanted=sorted(changed), why=error.description)
        return None

    async def _create(self, config: api.StreamConfig) -> None:
        name, wanted = config.name, config.max_bytes or 0
        while True:
            try:
                await self._bus.jetstream.add_stream(config)
            except APIError as error:
                smaller = (config.max_bytes or 0) // 2
                if error.err_code in _NO_ROOM and smaller >= _SMALLEST_BYTES:
                    config = replace(config, max_bytes=smaller)
                    continue
                if error.err_code == _IN_USE:  # another process was first, and got more or less room
                    return
                raise self._refused(config, error) from error
            if config.max_bytes != wanted:
                _log.warning("a stream gets less room", stream=name, wanted=wanted, bytes=config.max_bytes)
            return

    def _refused(self, config: api.StreamConfig, error: APIError) -> Exception:
        if error.err_code in _NO_ROOM:
            return StreamError(
                f"NATS at {self._bus.where} has no room for the stream {config.name}, not even for "
                f"{config.max_bytes} bytes. Free space on its disk, or raise its `max_file_store`."
            )
        if error.err_code == _OVERLAP:
            return StreamError(
                f"NATS at {self._bus.where} has another stream on {', '.join(config.subjects or [])}, which "
                f"{config.name} needs. Remove that stream, or give Haulage an account of its own."
            )
        return error

    async def _refuse_captured(self, subject: str) -> None:
        try:
            stream = await self._bus.jetstream.find_stream_name_by_subject(subject)
        except NotFoundError:
            return
        raise StreamError(
            f"The stream {stream} of NATS at {self._bus.where} captures {subject}: its acknowledgement would be taken "
            "for the answer. Narrow the subjects of that stream."
        )


def _changes(present: api.StreamConfig, wanted: api.StreamConfig) -> dict[str, Any]:
    """What an update is to change; storage and retention can't be updated."""
    return {
        name: getattr(wanted, name)
        for name in _UPDATED
        if _comparable(getattr(present, name)) != _comparable(getattr(wanted, name))
    }


def _comparable(value: Any) -> Any:
    # The order of subjects is the server's.
    return sorted(value) if isinstance(value, list) else value
