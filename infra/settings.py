"""Everything a person may decide about Haulage from outside: one model, read from `HAULAGE_…` environment variables.

With nothing set, Haulage works in `.haulage` where you stand, with servers it starts itself. A URL replaces a server.
Secrets are `SecretStr`, so a settings object can be logged; `redacted` does the same for a URL.
"""

import getpass
import os
import re
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from haulage.domain.errors import HaulageError
from haulage.domain.identity import Token, as_token

PREFIX = "HAULAGE_"

_POSTGRES_SCHEMES = ("postgresql", "postgres")
_NATS_SCHEMES = ("nats", "tls", "ws", "wss")


class SettingsError(HaulageError):
    """A setting has a value it cannot have; the message is made of sentences, one a line."""

    code = "settings"


def default_actor() -> str:
    """The name of the person at the keyboard, as a token of the bus."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, usual in containers
        name = f"uid-{os.getuid()}"
    return as_token(name, "someone")


def cores() -> int:
    """The processor cores this process may use, at least 1."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _absolute(path: Path) -> Path:
    # Fixed now: a later change of the working directory must not change what is meant.
    return path.expanduser().absolute()


def _is_file(path: Path) -> Path:
    if not path.is_file():
        raise ValueError("it should name a readable credentials file")
    return path


def _split(folders: object) -> object:
    return [part for part in folders.split(os.pathsep) if part] if isinstance(folders, str) else folders


def _postgres_url(url: SecretStr) -> SecretStr:
    if not _has_scheme(url.get_secret_value(), _POSTGRES_SCHEMES):
        raise ValueError("it should be a URL such as postgresql://user:password@host:5432/database")
    return url


def _nats_urls(urls: SecretStr) -> SecretStr:
    if not all(_has_scheme(url, _NATS_SCHEMES) for url in urls.get_secret_value().split(",")):
        raise ValueError("it should be a URL such as nats://host:4222, or several joined by commas")
    return urls


def _nats_token(token: SecretStr) -> SecretStr:
    # It travels in the URL, and NATS clients don't agree on how others would be written there.
    if not re.fullmatch(r"[A-Za-z0-9._~-]+", token.get_secret_value()):
        raise ValueError("it should have only letters, digits and . _ ~ -; or use HAULAGE_NATS_CREDENTIALS")
    return token


def _has_scheme(url: str, schemes: tuple[str, ...]) -> bool:
    scheme, colon, rest = url.strip().partition("://")
    return bool(colon and rest) and scheme in schemes


Folder = Annotated[Path, AfterValidator(_absolute)]
CredentialsFile = Annotated[Path, AfterValidator(_absolute), AfterValidator(_is_file)]
# NoDecode: not JSON, as pydantic-settings would have it, but as in PATH.
Folders = Annotated[tuple[Folder, ...], NoDecode, BeforeValidator(_split)]
PostgresUrl = Annotated[SecretStr, AfterValidator(_postgres_url)]
NatsUrls = Annotated[SecretStr, AfterValidator(_nats_urls)]
NatsToken = Annotated[SecretStr, AfterValidator(_nats_token)]
Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseSettings):
    """What was decided from outside. Prefer `load_settings`, whose errors are sentences."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True, allow_inf_nan=False
    )

    home: Folder = Field(default=Path(".haulage"), description="folder of the embedded servers, their data and secrets")

    postgres_url: PostgresUrl | None = Field(default=None, description="a PostgreSQL instead of the embedded one")
    postgres_admin_url: PostgresUrl | None = Field(default=None, description="the same database, for `haulage migrate`")
    nats_url: NatsUrls | None = Field(default=None, description="NATS servers, by commas, instead of the embedded one")
    nats_token: NatsToken | None = Field(default=None, description="token for `nats_url`")
    nats_credentials: CredentialsFile | None = Field(default=None, description="credentials file for `nats_url`")

    postgres_port: Port = Field(default=0, description="of the embedded PostgreSQL; 0: any free one")
    nats_port: Port = Field(default=0, description="of the embedded NATS server; 0: any free one")
    start_seconds: float = Field(default=120, gt=0, description="how long an embedded server may take to be ready")

    tenant: Token = Field(default="default", description="whose operations these are")
    actor: Token = Field(default_factory=default_actor, description="who is asking")

    workers: int = Field(default_factory=cores, ge=1, le=1024, description="workers of one process")
    lease_seconds: float = Field(default=30, ge=1, description="how long a claim lasts without a sign of life")
    drain_seconds: float = Field(default=20, ge=0, description="how long a stop waits for work in hand")

    input_folders: Folders = Field(
        default=(), description="folders, by colons, whose files a command may name when a server is not embedded"
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.postgres_admin_url is not None and self.postgres_url is None:
            raise ValueError("HAULAGE_POSTGRES_ADMIN_URL is of use only together with HAULAGE_POSTGRES_URL: set both")
        for name in ("nats_token", "nats_credentials"):
            if getattr(self, name) is not None and self.nats_url is None:
                raise ValueError(f"{PREFIX}{name.upper()} is of use only together with HAULAGE_NATS_URL: set both")
        return self

    def nats_with_token(self) -> str | None:
        """`nats_url`, in the clear, with the token in those URLs that name no user."""
        if self.nats_url is None or self.nats_token is None:
            return None if self.nats_url is None else self.nats_url.get_secret_value()
        user = f"{self.nats_token.get_secret_value()}@"
        parts = [urlsplit(url) for url in self.nats_url.get_secret_value().split(",")]
        whole = [part if "@" in part.netloc else part._replace(netloc=user + part.netloc) for part in parts]
        return ",".join(part.geturl() for part in whole)


def load_settings(**changes: Any) -> Settings:
    """The settings of this process: the environment, and over it `changes` (from the command line).

    Raises `SettingsError`, whose text never shows a secret.
    """
    try:
        return Settings(**changes)
    except ValidationError as error:
        sentences = [_sentence(detail) for detail in error.errors(include_url=False)]
        # From None: the original error carries the values, and some are secrets.
        raise SettingsError("\n".join(sentences)) from None


def redacted(url: str) -> str:
    """`url` fit for a screen: user and host stay, password or token is `***`. NATS URLs may be joined by commas."""
    if url.partition("://")[0] in _NATS_SCHEMES:
        return ",".join(_redacted(one) for one in url.split(","))
    return re.sub(r"(?<=password=)[^&]*", "***", _redacted(url))


def _redacted(url: str) -> str:
    parts = urlsplit(url)
    user, at, address = parts.netloc.rpartition("@")
    if not at:
        return url
    name, colon, _ = user.partition(":")
    # A user name alone is how a NATS URL carries a token.
    secret = f"{name}:***" if colon else "***" if parts.scheme in _NATS_SCHEMES else name
    return urlunsplit(parts._replace(netloc=f"{secret}@{address}"))


def _sentence(detail: ErrorDetails) -> str:
    if not detail["loc"]:
        return f"{_reason(detail)}."
    name = str(detail["loc"][0])
    shown = "" if _is_secret(name) else f" is {str(detail['input'])!r}, which will not do"
    return f"{PREFIX}{name.upper()}{shown or ' will not do'}: {_reason(detail)}."


def _reason(detail: ErrorDetails) -> str:
    if detail["type"] == "string_pattern_mismatch":
        return "it should be a word of up to 63 of a-z, 0-9, _ and -, beginning with a letter or digit"
    if detail["type"] == "extra_forbidden":
        return "there is no such setting"
    reason = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"it {reason}" if reason.startswith("should") else reason


def _is_secret(name: str) -> bool:
    return "url" in name or "token" in name
