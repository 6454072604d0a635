"""As whom the servers of a home run, and where their own files are.

An ordinary user runs them as himself, with everything in the home. PostgreSQL refuses to run as root, so root runs them
as a user without rights: `haulage` where the machine has such a user, else `nobody`. That user can't look into root's
folders, so the servers' files are below `/var/lib/haulage` and the programs are copied there too. No existing folder's
rights are changed. What the servers' user may write is in folders of its own; root writes only beside them, never in.
"""

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from haulage.infra.embedded.binaries import Binaries, copied, installed, make_open_folder
from haulage.infra.embedded.errors import INSTEAD, EmbeddedError
from haulage.infra.embedded.home import Home, Identity, write

ROOTS_FOLDER = Path("/var/lib/haulage")
_SERVER_USERS = ("haulage", "nobody")

# Nothing of the caller's environment (PGPORT, PGDATA, LD_LIBRARY_PATH, …) reaches a server.
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}


@dataclass(frozen=True, slots=True)
class Account:
    """A system user; `other` when it is not the one this process runs as."""

    name: str
    uid: int
    gid: int
    other: bool

    def run(
        self,
        command: Sequence[str | Path],
        folder: Path,
        output: IO[bytes] | int,
        *,
        text: str = "",
        keep: Sequence[int] = (),
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `command` in `folder` as this user, in a session of its own.

        `text` is its input; the descriptors `keep` stay open in it. It is not checked that it succeeds.
        """
        try:
            return subprocess.run(
                command,
                check=False,
                cwd=folder,
                input=text.encode(),
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_ENVIRONMENT,
                pass_fds=keep,
                start_new_session=True,
                umask=0o077,
                user=self.uid if self.other else None,
                group=self.gid if self.other else None,
                extra_groups=[] if self.other else None,
            )
        except OSError as error:
            raise EmbeddedError(
                f"{command[0]} can't be run as {self.name}: {error.strerror}. "
                f"Run Haulage as an ordinary user, or {INSTEAD}"
            ) from error


@dataclass(frozen=True, slots=True)
class Quarters:
    """`folder` holds the servers' settings (ours) and their data (theirs); `binaries` can be run by `account`."""

    folder: Path
    account: Account
    binaries: Binaries

    def private_folder(self, name: str) -> Path:
        """The folder `name` of the servers' user alone, made if it is missing."""
        folder = self.folder / name
        if not folder.is_dir():
            folder.mkdir(mode=0o700)
            try:
                if self.account.other:
                    os.chown(folder, self.account.uid, self.account.gid)
            except OSError as error:
                folder.rmdir()
                raise EmbeddedError(
                    f"{folder} can't be given to {self.account.name}, the servers' user: {error.strerror}. "
                    f"Run Haulage as an ordinary user, or {INSTEAD}"
                ) from error
        return folder

    @property
    def reader(self) -> int | None:
        """The user id to give a file that the servers must be able to read, and nobody else; None: leave it ours."""
        return self.account.uid if self.account.other else None


def data_folder(home: Home, identity: Identity) -> Path:
    """Where the servers of this home have their files, whether these exist or not."""
    return ROOTS_FOLDER / "homes" / identity.id if identity.uid == 0 else home.path


def abandoned_folders() -> list[tuple[Path, str]]:
    """Root's data folders whose home is not where it was, with the path of that home, for `doctor`.

    Never to be removed unasked: the home may have been moved, or be on a disk that is not mounted now.
    """
    if os.geteuid() != 0:
        return []
    found = []
    for record in sorted((ROOTS_FOLDER / "homes").glob("*/home.path")):
        home = Path(record.read_text().strip())
        identity = Home(home).identity()
        if identity is None or identity.id != record.parent.name:
            found.append((record.parent, str(home)))
    return found


def quarters_for(home: Home, identity: Identity) -> Quarters:
    """Everything ready to run the servers of `home`, under its lock."""
    folder = data_folder(home, identity)
    if identity.uid != 0:
        return Quarters(folder, _ourselves(), installed())
    try:
        make_open_folder(folder)
        # For whoever finds the folder, and wonders whether it may go.
        write(folder / "home.path", f"{home.path}\n")
        binaries = copied(installed(), ROOTS_FOLDER / "servers")
    except OSError as error:
        raise EmbeddedError(
            f"As root, the embedded servers keep their data below {ROOTS_FOLDER}, which can't be used: {error}. "
            f"Run Haulage as an ordinary user, or {INSTEAD}"
        ) from error
    account = _server_account(folder / "postgres")
    for path in (folder, binaries.postgres, binaries.nats_server):
        _must_reach(account, path)
    return Quarters(folder, account, binaries)


def _ourselves() -> Account:
    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        raise EmbeddedError(
            f"This process runs as user id {uid}, which has no name on this machine, and PostgreSQL needs one. "
            f"Run Haulage as a user listed in /etc/passwd, or {INSTEAD}"
        ) from None
    return Account(name, uid, os.getegid(), other=False)


def _server_account(data: Path) -> Account:
    """The owner of data that exists, so that a user created later does not lock us out; else the first there is."""
    if data.exists():
        owner = pwd.getpwuid(data.stat().st_uid)
        return Account(owner.pw_name, owner.pw_uid, owner.pw_gid, other=True)
    for name in _SERVER_USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid, other=True)
    raise EmbeddedError(
        "PostgreSQL does not run as root, and this machine has neither a user haulage nor a user nobody to run it as. "
        "Create one (useradd --system haulage), or run Haulage as an ordinary user."
    )


def _must_reach(account: Account, path: Path) -> None:
    for folder in path.parents:
        status = folder.stat()
        searchable = 0o100 if status.st_uid == account.uid else 0o010 if status.st_gid == account.gid else 0o001
        if not status.st_mode & searchable:
            raise EmbeddedError(
                f"The servers' user {account.name} can't reach {path}, since {folder} is closed to it. "
                f"Open that folder (chmod o+x {folder}), or run Haulage as an ordinary user."
            )
