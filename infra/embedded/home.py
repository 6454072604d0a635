"""A home: the folder that embedded servers belong to, with what must be known to find them again.

    home.json      the home's identity: a random id, its own path, and the user id it belongs to
    secrets.json   generated passwords and the bus token
    ports.json     where the servers listened last, so that URLs stay the same over restarts
    home.lock      held by whoever starts or stops servers, registers or leaves
    users/         one file per process that uses the servers (`users.py`)
    log/           what the servers print
    postgres.lock, nats.lock   held by the servers themselves (`process.py`)

Crash story: 1. each file is replaced as a whole, so a reader sees the old one or the new one; 2. secrets are on disk
before the first server is initialised with them; 3. nothing here says that a server *runs*: that is asked of the
system each time.
"""

import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from haulage.infra.embedded.errors import EmbeddedError, HomeError, home_errors


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells one home from another, wherever it is moved. `initialised`: its database has been made."""

    id: str
    path: str
    uid: int
    initialised: bool = False


@dataclass(frozen=True, slots=True)
class Secrets:
    """Of one home; safe in a URL without quoting."""

    admin_password: str = field(repr=False)
    app_password: str = field(repr=False)
    nats_token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Home:
    """The folder `path`, which may not exist yet. Only `lock` creates it."""

    path: Path

    @contextmanager
    def lock(self, seconds: float) -> Iterator[None]:
        """Be the only one to start, stop, register or leave. Creates the home. Not to be nested.

        Raises `HomeError` when the home can't be written, `EmbeddedError` when another holds it for `seconds`.
        """
        with home_errors(self.path):
            self._create()
        # Not the soft kind, which would outlive a kill -9 of its holder.
        lock = FileLock(self.path / "home.lock", seconds, mode=0o600, poll_interval=0.02, fallback_to_soft=False)
        try:
            with home_errors(self.path):
                lock.acquire()
        except Timeout:
            raise EmbeddedError(
                f"Another Haulage process has been busy with the servers of {self.path} for {seconds:g} seconds. "
                f"See {self.log_folder}, or who holds {self.path / 'home.lock'}."
            ) from None
        try:
            yield
        finally:
            lock.release()

    @property
    def log_folder(self) -> Path:
        """Where the servers' logs are."""
        return self.path / "log"

    def identity(self) -> Identity | None:
        """Which home this is; None before its first use."""
        stored = _read(self.path / "home.json")
        return None if stored is None else Identity(**stored)

    def claim(self) -> tuple[Identity, bool]:
        """Make sure that this home is ours to use, under its lock: (identity, whether it was moved since last time).

        Raises `HomeError` for another user's home and for a copy of a home that still exists.
        """
        identity = self.identity()
        if identity is None:
            identity = Identity(secrets.token_hex(6), str(self.path), os.geteuid())
            self.keep(identity)
            return identity, False
        self._refuse_strangers(identity)
        if self._is_at(Path(identity.path)):
            return identity, False
        original = Home(Path(identity.path)).identity()
        if original is not None and original.id == identity.id:
            raise HomeError(
                f"The home {self.path} is a copy of {identity.path}, and two homes can't share one set of servers. "
                f"Use the original (HAULAGE_HOME={identity.path}), or remove the copy and let Haulage make a new home."
            )
        return Identity(identity.id, str(self.path), identity.uid, identity.initialised), True

    def keep(self, identity: Identity) -> None:
        """Store what `claim` gave, changed or not."""
        write(self.path / "home.json", json.dumps(asdict(identity)))

    def secrets(self, identity: Identity) -> Secrets:
        """The home's secrets, generated at the first call (under the lock)."""
        stored = _read(self.path / "secrets.json")
        if stored is None:
            if identity.initialised:
                raise HomeError(
                    f"{self.path / 'secrets.json'} is gone, and with it the passwords of the home's database. "
                    f"Bring it back, or remove {self.path} to start with an empty home."
                )
            made = Secrets(*(secrets.token_hex(24) for _ in range(3)))
            write(self.path / "secrets.json", json.dumps(asdict(made)))
            return made
        return Secrets(**stored)

    def port(self, server: str) -> int | None:
        """Where `server` listened last."""
        return (_read(self.path / "ports.json") or {}).get(server)

    def keep_port(self, server: str, port: int) -> None:
        """Remember, under the lock, where `server` listens."""
        ports = _read(self.path / "ports.json") or {}
        write(self.path / "ports.json", json.dumps({**ports, server: port}))

    def _create(self) -> None:
        if (self.path / "users").is_dir():
            return
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Data and secrets do not belong in the repository that a home usually stands in.
        (self.path / ".gitignore").write_text("*\n")
        for name in ("log", "users"):
            (self.path / name).mkdir(mode=0o700, exist_ok=True)

    def _refuse_strangers(self, identity: Identity) -> None:
        if identity.uid != os.geteuid():
            raise HomeError(
                f"The home {self.path} belongs to user id {identity.uid}, and this process runs as {os.geteuid()}. "
                "Run Haulage as that user, or choose another home with HAULAGE_HOME."
            )

    def _is_at(self, path: Path) -> bool:
        # By inode: the same folder may be known by several names (links, mounts).
        try:
            return self.path.samefile(path)
        except OSError:
            return False


def write(path: Path, text: str, owner: int | None = None) -> None:
    """Replace a file as a whole, through to the disk; only `owner` (None: we) may read it."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            if owner is not None:
                os.fchown(descriptor, owner, -1)
            file.flush()
            os.fsync(descriptor)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _read(path: Path) -> dict | None:  # type: ignore[type-arg]  # each caller knows the keys
    try:
        text = path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise HomeError(f"{path} can't be read: {error.strerror}. Run Haulage as the user it belongs to.") from error
    try:
        return dict(json.loads(text))
    except ValueError as error:
        raise HomeError(f"{path} is damaged: {error}. Restore it from a backup, or remove the home.") from error
