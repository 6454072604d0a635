"""The PostgreSQL and the NATS server Haulage works with: found by a URL where one is set, else embedded in the home.

    with Servers(settings) as urls: …          # servers for the duration
    servers.acquire() … servers.release()      # the same in two steps
    servers.ensure()                           # again and again: brings back whichever died

Crash story:
1. The servers are detached: the end of whoever started them, `kill -9` included, leaves them running for the others.
2. A dead user's place is swept by the next one who comes or goes.
3. When the last user is killed the servers stay up. The next user finds them, and stops them when it leaves, or
   `haulage down` does.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import SecretStr

from haulage.infra.embedded.errors import EmbeddedError, HomeError, InUseError, home_errors
from haulage.infra.embedded.home import Home, Identity, Secrets
from haulage.infra.embedded.nats_server import NatsServer
from haulage.infra.embedded.postgres_server import ADMIN, APP, PostgresServer
from haulage.infra.embedded.quarters import Quarters, quarters_for
from haulage.infra.embedded.users import Registration, User, living_users
from haulage.infra.settings import Settings


@dataclass(frozen=True, slots=True)
class ServerUrls:
    """Where the servers are. The URLs hold passwords; `settings.redacted` makes one fit for a screen.

    `postgres_admin` is None when only `HAULAGE_POSTGRES_URL` is set. `nats` may be several URLs joined by commas.
    """

    postgres_admin: str | None = field(repr=False)
    postgres_app: str = field(repr=False)
    nats: str = field(repr=False)
    nats_credentials: Path | None = None


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """One server. `url` is for any client, None before the first start; `running` None for one that is not embedded."""

    embedded: bool
    running: bool | None
    url: str | None = field(repr=False)
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class ServersStatus:
    """Both servers, and who uses the embedded ones."""

    home: Path
    postgres: ServerStatus
    nats: ServerStatus
    users: tuple[User, ...]


class Servers:
    """The servers of `settings`. One object is one user of them, between `acquire` and `release`.

    `postgres_options` go over the embedded PostgreSQL's own settings: for tests, which may trade durability for speed.
    """

    def __init__(self, settings: Settings, *, postgres_options: Mapping[str, str] | None = None) -> None:
        self._settings = settings
        self._options = postgres_options or {}
        self._home = Home(settings.home)
        self._registration: Registration | None = None

    def __enter__(self) -> ServerUrls:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def acquire(self) -> ServerUrls:
        """Be a user of the servers, starting those that are embedded and do not run. A repeat is `ensure`.

        Raises `EmbeddedError`, and then this object is no user.
        """
        if not self._embedded:
            return self._urls(None)
        with self._locked():
            new = self._register()
            try:
                return self._urls(self._start_missing())
            except BaseException:
                if new:
                    self._leave()
                raise

    def ensure(self) -> ServerUrls:
        """Start whatever has died since `acquire`. Cheap when nothing has: no lock is taken.

        The answer differs from the last one only where a port was taken meanwhile.
        """
        identity = self._home.identity() if self._embedded else None
        if identity is not None and self._registration is not None and self._all_running(identity):
            return self._urls(identity)
        return self.acquire()

    def release(self) -> None:
        """Be no user any more; the last one stops the servers. A repeat does nothing."""
        if self._registration is None:
            return
        if self._home.identity() is None:  # somebody removed the home under us; don't make it again
            self._registration.leave()
            self._registration = None
            return
        with self._locked():
            self._leave()

    def stop(self, *, force: bool = False) -> bool:
        """Stop the embedded servers, whoever started them; whether any ran. What `haulage down` does.

        Raises `InUseError` when others use them, unless `force`.
        """
        identity = self._home.identity()
        if identity is None:
            return False
        with self._locked():
            if not force:
                self._refuse_to_disturb("The servers were to be stopped.")
            return self._stop(identity)

    def status(self) -> ServersStatus:
        """How things are; starts nothing and creates nothing."""
        identity = self._home.identity()
        users = tuple(user for _, user in living_users(self._users)) if identity else ()
        return ServersStatus(self._home.path, self._postgres_status(identity), self._nats_status(identity), users)

    # -- what is embedded

    @property
    def _embedded(self) -> bool:
        return self._settings.postgres_url is None or self._settings.nats_url is None

    @property
    def _users(self) -> Path:
        return self._home.path / "users"

    def _servers(self, identity: Identity) -> tuple[PostgresServer, NatsServer]:
        return PostgresServer(self._home, identity, self._options), NatsServer(self._home, identity)

    def _all_running(self, identity: Identity) -> bool:
        postgres, nats = self._servers(identity)
        return (self._settings.postgres_url is not None or postgres.running()) and (
            self._settings.nats_url is not None or nats.running()
        )

    # -- under the home's lock

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # Whoever holds it may be waiting for a slow start of both servers.
        with self._home.lock(2 * self._settings.start_seconds + 60), home_errors(self._home.path):
            yield

    def _register(self) -> bool:
        # Its file may be gone: somebody removed the home under us.
        if self._registration is not None and self._registration.path.exists():
            return False
        living_users(self._users, sweep=True)
        self._registration = Registration(self._users)
        return True

    def _start_missing(self) -> Identity:
        identity = self._claim()
        quarters = quarters_for(self._home, identity)
        secrets = self._home.secrets(identity)
        postgres, nats = self._servers(identity)
        if self._settings.postgres_url is None:
            if postgres.running():
                self._check_port(postgres.name, self._settings.postgres_port)
            else:
                identity = self._initialise(postgres, identity, quarters, secrets)
                postgres.start(quarters, self._settings.postgres_port, self._settings.start_seconds)
        if self._settings.nats_url is None:
            if nats.running():
                self._check_port(nats.name, self._settings.nats_port)
            else:
                nats.start(quarters, secrets, self._settings.nats_port, self._settings.start_seconds)
        return identity

    def _claim(self) -> Identity:
        identity, moved = self._home.claim()
        if moved:
            # What runs still has the old paths open.
            self._refuse_to_disturb("The home was moved, and its servers must be started anew.")
            self._stop(identity)
            self._home.keep(identity)
        return identity

    def _initialise(
        self, postgres: PostgresServer, identity: Identity, quarters: Quarters, secrets: Secrets
    ) -> Identity:
        if identity.initialised and not postgres.data.exists():
            raise HomeError(
                f"The data of the home {self._home.path} was in {postgres.data}, which is gone. "
                f"Bring it back, or remove {self._home.path} to start with an empty home."
            )
        postgres.initialise(quarters, secrets)
        initialised = replace(identity, initialised=True)
        if initialised != identity:
            self._home.keep(initialised)
        return initialised

    def _check_port(self, server: str, asked: int) -> None:
        if asked and asked != self._home.port(server):
            raise EmbeddedError(
                f"The embedded {server} server of {self._home.path} already listens on port {self._home.port(server)}, "
                f"and HAULAGE_{server.upper()}_PORT asks for {asked}. Stop it (haulage down), or drop the setting."
            )

    def _refuse_to_disturb(self, why: str) -> None:
        others = [user for path, user in living_users(self._users, sweep=True) if not self._is_us(path)]
        if others:
            names = ", ".join(f"{user.pid} ({user.command})" for user in others)
            raise InUseError(
                f"{why} But the servers of {self._home.path} are in use by process {names}: end these first."
            )

    def _leave(self) -> None:
        if self._registration is not None:
            self._registration.leave()
            self._registration = None
        identity = self._home.identity()
        if identity is not None and not living_users(self._users, sweep=True):
            self._stop(identity)

    def _stop(self, identity: Identity) -> bool:
        servers = self._servers(identity)
        ran = any(server.process.alive() for server in servers)
        for server in servers:
            server.stop()
        return ran

    def _is_us(self, path: Path) -> bool:
        return self._registration is not None and self._registration.path == path

    # -- what is told to others

    def _urls(self, identity: Identity | None) -> ServerUrls:
        outside = self._settings
        admin, app, bus = _open(outside.postgres_admin_url), _open(outside.postgres_url), outside.nats_with_token()
        if identity is not None:
            secrets = self._home.secrets(identity)
            postgres, nats = self._servers(identity)
            if app is None:
                admin = postgres.url(ADMIN, secrets.admin_password)
                app = postgres.url(APP, secrets.app_password)
            bus = bus or nats.url(secrets.nats_token)
        assert app is not None, "without a URL there is an embedded server"
        assert bus is not None, "without a URL there is an embedded server"
        return ServerUrls(admin, app, bus, outside.nats_credentials)

    def _postgres_status(self, identity: Identity | None) -> ServerStatus:
        if self._settings.postgres_url is not None:
            return ServerStatus(False, None, _open(self._settings.postgres_url))
        if identity is None or self._home.port(PostgresServer.name) is None:
            return ServerStatus(True, False, None)
        postgres, _ = self._servers(identity)
        url = postgres.tcp_url(APP, self._home.secrets(identity).app_password)
        return ServerStatus(True, postgres.running(), url, postgres.pid())

    def _nats_status(self, identity: Identity | None) -> ServerStatus:
        if self._settings.nats_url is not None:
            return ServerStatus(False, None, self._settings.nats_with_token())
        if identity is None or self._home.port(NatsServer.name) is None:
            return ServerStatus(True, False, None)
        _, nats = self._servers(identity)
        return ServerStatus(True, nats.running(), nats.url(self._home.secrets(identity).nats_token), nats.pid())


def _open(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
