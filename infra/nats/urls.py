"""Where NATS is and how to get in, taken out of a URL: addresses that can be shown, and credentials that never are."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from haulage.domain.errors import NotReachableError

_SCHEMES = ("nats", "tls", "ws", "wss")


@dataclass(frozen=True, slots=True)
class Target:
    """One NATS cluster. `servers` are addresses without credentials, fit for a screen."""

    servers: tuple[str, ...]
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    credentials: Path | None = None

    @property
    def shown(self) -> str:
        """The addresses, for a sentence."""
        return ", ".join(self.servers)

    def login(self) -> Mapping[str, Any]:
        """What nats-py's `connect` takes. NotReachableError where a credentials file can't be used here."""
        if self.credentials is not None:
            _require_nkeys()
            return {"user_credentials": str(self.credentials)}
        if self.password is not None:
            return {"user": self.user, "password": self.password}
        return {"token": self.token} if self.token is not None else {}

    def without_secrets(self, text: str) -> str:
        """`text` (of an error, say) with password and token struck out."""
        for secret in (self.password, self.token):
            text = text.replace(secret, "***") if secret else text
        return text


def target(url: str, *, token: str | None = None, credentials: Path | None = None) -> Target:
    """Read `url`, or several joined by commas: `nats://user:password@host:4222`, `nats://token@host:4222`.

    The first URL that has credentials gives those of all. nats-py would take them from the URL as well, but without
    decoding `%40`, and would then show them in its errors.
    """
    parts = [_split(one.strip()) for one in url.split(",") if one.strip()]
    if not parts:
        raise NotReachableError("The URL of NATS is empty. Set HAULAGE_NATS_URL to one such as nats://host:4222.")
    login = next((part for part in parts if part.username), None)
    user = unquote(login.username or "") if login else None
    password = unquote(login.password) if login and login.password is not None else None
    if user is not None and password is None:
        # A user name alone is how a NATS URL carries a token.
        user, token = None, token or user
    return Target(tuple(map(_address, parts)), user, password, token, credentials)


def _split(url: str) -> SplitResult:
    parts = urlsplit(url if "://" in url else f"nats://{url}")
    try:
        usable = parts.scheme in _SCHEMES and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is no number
        usable = False
    if not usable:
        # Without the URL itself: it may hold a password.
        raise NotReachableError("The URL of NATS can't be read. It should look like nats://user:password@host:4222.")
    return parts


def _address(parts: SplitResult) -> str:
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = parts.port or (4222 if parts.scheme in ("nats", "tls") else None)
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


def _require_nkeys() -> None:
    try:
        import nkeys  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        raise NotReachableError(
            "A credentials file for NATS needs the Python package `nkeys`, which is not installed. "
            "Install it, or use a user and password or a token in HAULAGE_NATS_URL."
        ) from None
