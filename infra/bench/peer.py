"""The peer in an environment of its own, made once: DBOS from PyPI, running `benchmarks/peer_dbos.py`."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from haulage.domain.errors import HaulageError

PEER = "dbos==3.4.0"
SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "peer_dbos.py"


class PeerError(HaulageError):
    """The peer could not be set up or did not run; the rest of the benchmark stands."""


@dataclass(frozen=True, slots=True)
class PeerRates:
    """Items a second: a durable step for each chunk, and one for each item."""

    chunk: float
    item: float


def prepare_peer(folder: Path) -> Path:
    """Make the peer's environment in `folder` where it is not there yet; its Python."""
    python = folder / "bin" / "python"
    done = folder / "ready"
    if not done.exists():
        uv = shutil.which("uv")
        make = [uv, "venv", "--quiet", "--clear", "--python", sys.executable] if uv else [sys.executable, "-m", "venv"]
        install = [uv, "pip", "install", "--python", str(python)] if uv else [str(python), "-m", "pip", "install"]
        _run([*make, str(folder)])
        _run([*install, "--quiet", PEER, "psycopg[binary]"])
        done.touch()
    return python


def measure_peer(
    python: Path, system_url: str, url: str, path: Path, organization: UUID, *, chunk_items: int, item_rows: int
) -> PeerRates:
    """Run the peer's two imports of `path` into the (empty) directory at `url`."""
    if not SCRIPT.exists():
        raise PeerError(f"The peer's script is part of the source, not of the installed package: {SCRIPT} is missing.")
    arguments = [system_url, url, str(path), str(organization), str(chunk_items), str(item_rows)]
    found = json.loads(_run([str(python), str(SCRIPT), *arguments]).strip().splitlines()[-1])
    return PeerRates(*(found[name]["rows"] / found[name]["seconds"] for name in ("chunk", "item")))


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        raise PeerError(f"The peer did not run: {said.strip()[-500:]}") from error
    return done.stdout
