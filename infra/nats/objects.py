"""Input files in the bus's object store, for workers that don't share a disk with whoever has the file.

An object is named after the digest of its content, so that handing the same file over twice stores it once and what
comes out is what went in. Both ways stream: memory does not grow with the file.

Crash story.
1. Died within an upload: chunks without a description are left, and go by age. Uploading again starts over.
2. Died within a download: a file of the temporary folder is left, and the next attempt makes another.
3. NATS went away within a download: NotReachableError, and whoever wanted it tries again.
4. The same file was handed over anew within a download, whose pieces go then: it starts over.
"""

import errno
import hashlib
import os
import re
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

from nats.js import api
from nats.js.errors import BucketNotFoundError, ObjectNotFoundError
from nats.js.object_store import ObjectStore

from haulage.domain.errors import HaulageError, InputError
from haulage.infra.nats.connection import Bus
from haulage.infra.nats.object_reader import IncompleteError, ObjectReader, WriteError
from haulage.infra.nats.streams import INPUTS_BUCKET, Streams

LIMIT_BYTES = 64 * 1024**3
DAY_SECONDS = 24 * 3600.0
TRIES = 3

_SUFFIX = re.compile(r"\.[a-z0-9]{1,10}")
_NUID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class NoSpaceError(HaulageError):
    """The disk is full: free some space, then repeat."""

    code = "disk_full"


class InputObjects:
    """The bucket `haulage-inputs`. May be used by any number of threads."""

    def __init__(self, bus: Bus, kept: Streams | None = None) -> None:
        self._bus = bus
        self._kept = kept or Streams(bus)

    def upload(self, path: Path) -> str:
        """Store the file; the object's name. A repeat finds it there. InputError, NotReachableError."""
        try:
            return self._upload(path)
        except FileNotFoundError:
            raise InputError(f"There is no file {path}. Check the path.") from None
        except IsADirectoryError:
            raise InputError(f"{path} is a directory. Name a file in it.") from None
        except PermissionError:
            raise InputError(f"{path} can't be read: permission denied. Change its rights.") from None

    def download(self, name: str, folder: Path, limit_bytes: int = LIMIT_BYTES) -> Path:
        """Bring the object into a new file in `folder` that only we can read; its end is that of `name`.

        InputError: there is no such object, it is incomplete, or larger than `limit_bytes`. NoSpaceError.
        NotReachableError: NATS is away.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        number, text = tempfile.mkstemp(prefix="haulage-input-", suffix=_suffix(name), dir=folder)
        path = Path(text)
        try:
            with os.fdopen(number, "wb") as file:
                self._download(name, file, limit_bytes)
        except OSError as error:
            path.unlink(missing_ok=True)
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise NoSpaceError(f"There is no space left in {folder} for the input {name}. Free some.") from error
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    @contextmanager
    def fetched(self, name: str, folder: Path | None = None) -> Iterator[Path]:
        """`download` (into the system's temporary folder, without another) for as long as the context lasts."""
        path = self.download(name, folder or Path(tempfile.gettempdir()))
        try:
            yield path
        finally:
            with suppress(FileNotFoundError):
                path.unlink()

    # -- up

    def _upload(self, path: Path) -> str:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, hashlib.sha256)
            size = file.tell()
        name = digest.hexdigest() + _suffix(path.name.lower())
        with path.open("rb") as file, self._bus.reaching(f"handing {path} over"):
            store = self._store()
            if self._is_there(store, name, size):
                return name
            stored = self._bus.call(store.put(name, file), DAY_SECONDS)
            if stored.digest != f"SHA-256={urlsafe_b64encode(digest.digest()).decode()}":
                self._bus.call(store.delete(name))
                raise InputError(f"{path} changed while it was being handed over. Wait until it is complete.")
        return name

    def _store(self) -> ObjectStore:
        try:
            return self._bus.call(self._bus.jetstream.object_store(INPUTS_BUCKET))
        except BucketNotFoundError:
            self._kept.keep()
            return self._bus.call(self._bus.jetstream.object_store(INPUTS_BUCKET))

    def _is_there(self, store: ObjectStore, name: str, size: int) -> bool:
        """Whether it is, and stays long enough to be used: objects go by age."""
        try:
            info = self._bus.call(store.get_info(name))
            stored = datetime.fromisoformat(info.mtime or "")
        except (ObjectNotFoundError, ValueError):
            return False
        fresh = timedelta(seconds=self._kept.sizes.inputs_seconds / 14)
        return info.size == size and datetime.now(UTC) - stored < fresh

    # -- down

    def _download(self, name: str, file: IO[bytes], limit_bytes: int) -> None:
        for attempt in range(1, TRIES + 1):
            info = self._info(name, limit_bytes)
            _start_over(file)
            try:
                with self._bus.reaching(f"fetching the input {name}"):
                    self._bus.call(ObjectReader(self._bus, info).read_into(file), DAY_SECONDS)
                return
            except WriteError as error:
                raise error.cause from None
            except IncompleteError as error:
                if attempt == TRIES:
                    raise InputError(f"The input {name} is incomplete in NATS ({error}). Hand it over again.") from None

    def _info(self, name: str, limit_bytes: int) -> api.ObjectInfo:
        with self._bus.reaching(f"looking for the input {name}"):
            try:
                info = self._bus.call(self._store().get_info(name))
            except ObjectNotFoundError:
                days = self._kept.sizes.inputs_seconds / DAY_SECONDS
                raise InputError(
                    f"There is no input {name} in NATS at {self._bus.where}: it was never handed over, or more than "
                    f"{days:g} days ago. Hand the file over again."
                ) from None
        if info.is_link() or not _NUID.fullmatch(info.nuid or ""):
            # What we read with our rights must be this object and no other.
            raise InputError(f"The input {name} is no plain object. Hand the file over again.")
        if (info.size or 0) > limit_bytes:
            raise InputError(f"The input {name} has {info.size:,} bytes; the limit is {limit_bytes:,}. Split the file.")
        return info


def _start_over(file: IO[bytes]) -> None:
    file.seek(0)
    file.truncate()


def _suffix(name: str) -> str:
    suffix = Path(name).suffix
    return suffix if _SUFFIX.fullmatch(suffix) else ""
