"""An input file as bytes: opened only where it may be, read at any position, its SHA-256 made on the way."""

import hashlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from haulage.domain.errors import InputError

HASH_READ_BYTES = 1 << 20


class RawFile:
    """A regular file, open for reading. `name` is what people call it in sentences.

    `hashed` says how many bytes from the start `prefix_digest` covers: as many as have been read without a gap.
    """

    def __init__(self, descriptor: int, name: str) -> None:
        self._descriptor = descriptor
        self.name = name
        self._opened = os.fstat(descriptor)
        self.size = self._opened.st_size
        self.modified = self._opened.st_mtime_ns
        self.hashed = 0
        self._hash = hashlib.sha256()

    def read(self, position: int, size: int) -> bytes:
        """Up to `size` bytes from `position`; empty at the end. Raises `InputError` where the disk fails."""
        wanted = min(size, self.size - position)
        if wanted <= 0:
            return b""
        try:
            data = os.pread(self._descriptor, wanted, position)
        except OSError as error:
            raise InputError(
                f"{self.name} can't be read at byte {position:,}: {error.strerror}; check the disk, then start again"
            ) from error
        if not data:
            raise self._changed("it has become shorter")
        fresh = self.hashed - position
        if 0 <= fresh < len(data):
            self._hash.update(memoryview(data)[fresh:])
            self.hashed = position + len(data)
        return data

    @property
    def prefix_digest(self) -> bytes:
        """SHA-256 of the first `hashed` bytes."""
        return self._hash.copy().digest()

    def prefix(self, size: int) -> bytes:
        """SHA-256 of the first `size` bytes; reads what of them is not hashed yet."""
        size = min(size, self.size)
        while self.hashed < size:
            self.read(self.hashed, min(HASH_READ_BYTES, size - self.hashed))
        if self.hashed == size:
            return self.prefix_digest
        digest = hashlib.sha256()
        for position in range(0, size, HASH_READ_BYTES):
            digest.update(self.read(position, min(HASH_READ_BYTES, size - position)))
        return digest.digest()

    def digest(self) -> bytes:
        """SHA-256 of the whole file; reads what of it is not hashed yet."""
        return self.prefix(self.size)

    def check_unchanged(self) -> None:
        """Raise `InputError` where the file was written to since it was opened."""
        now = os.fstat(self._descriptor)
        if (now.st_size, now.st_mtime_ns) != (self.size, self.modified):
            raise self._changed("somebody wrote to it")

    def _changed(self, how: str) -> InputError:
        return InputError(f"{self.name} changed while it was being read: {how}; start again when the file is complete")

    def close(self) -> None:
        """Give the file back. Closing again does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_raw(path: Path, name: str | None = None, folders: Sequence[Path] | None = None) -> RawFile:
    """Open the regular file at `path`, below one of `folders` where some are given.

    Raises `InputError` where it is outside of them, missing, unreadable or no regular file.
    """
    name = name or str(path)
    try:
        resolved = path.resolve()
        # Before anything about the file is told: outside of the folders, not even whether it exists.
        _check_folders(resolved, name, folders)
        _check_regular(os.stat(resolved), name)
        # Between the look and the opening the path may have become a link or a pipe: do not follow, do not wait.
        descriptor = os.open(resolved, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise InputError(f"{name} does not exist; check the path (it is looked up where the worker runs)") from error
    except PermissionError as error:
        raise InputError(f"{name} can't be read: permission denied; let the user who runs Haulage read it") from error
    except (OSError, RuntimeError, ValueError) as error:
        # RuntimeError: links in a circle; ValueError: a NUL character in the path.
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{name} can't be opened: {reason}; check the path") from error
    raw = RawFile(descriptor, name)
    try:
        _check_regular(os.fstat(descriptor), name)
    except InputError:
        raw.close()
        raise
    return raw


def _check_folders(resolved: Path, name: str, folders: Sequence[Path] | None) -> None:
    if folders is None or any(resolved.is_relative_to(folder.resolve()) for folder in folders):
        return
    where = ", ".join(map(str, folders)) or "none"
    raise InputError(f"{name} is not within the folders that inputs may come from ({where}); move it there")


def _check_regular(found: os.stat_result, name: str) -> None:
    if stat.S_ISREG(found.st_mode):
        return
    kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    kind = kinds.get(stat.S_IFMT(found.st_mode), "a device")
    raise InputError(f"{name} is {kind}; give the path of a regular file")
