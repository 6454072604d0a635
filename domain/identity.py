"""Names and ids: who (tenant, actor), which kind, and the ids of streams.

Tenant, actor and kind are tokens of a bus subject, hence their narrow alphabet.
"""

import re
from typing import Annotated
from uuid import UUID, uuid5

from pydantic import StringConstraints

TOKEN_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"  # noqa: S105 - a bus token, not a secret
Token = Annotated[str, StringConstraints(pattern=TOKEN_PATTERN)]

_NOT_IN_A_TOKEN = re.compile(r"[^a-z0-9_-]+")


def is_token(text: str) -> bool:
    """Whether `text` can stand as tenant, actor or kind."""
    return re.fullmatch(TOKEN_PATTERN.strip("^$"), text) is not None


def as_token(text: str, default: str) -> str:
    """`text` made to fit (lower case, other characters to `-`); `default` where nothing of it is left."""
    return _NOT_IN_A_TOKEN.sub("-", text.lower()).strip("-_")[:63] or default


def chunk_stream(operation: UUID, step: str, first: int, last: int) -> UUID:
    """The stream of one chunk. A chunk is its range: the same range of the same step is the same chunk for ever."""
    return uuid5(operation, f"chunk/{step}/{first}-{last}")
