"""A user as a row of a file gives one: which values, and what makes them valid."""

from enum import StrEnum
from typing import Annotated, NotRequired

from pydantic import Field, StringConstraints

# typing's own is not enough for pydantic before Python 3.12.
from typing_extensions import TypedDict


class Role(StrEnum):
    """What a member may do in an organization."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    VIEWER = "viewer"


_OTHER = r"[[^\x00-\x7f]--[\p{C}\p{Z}]]"
_ATOM = rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~\-{_OTHER}]+"
_LABEL = rf"[A-Za-z0-9{_OTHER}]+(?:-+[A-Za-z0-9{_OTHER}]+)*"
EMAIL = rf"^{_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+{_LABEL}$"
"""What passes for an e-mail address: a dot-atom (RFC 5322, section 3.2.3), `@`, and a domain of two labels or more.

Letters of any script count (RFC 6531); quoted local parts and address literals, which nobody has, do not. It finds
typing errors; whether the address exists only a message to it can tell. The engine that matches it (Rust's regex) takes
time linear in the text, whatever the text.
"""

LOCALE = r"^(?:[A-Za-z]{2,8}(?:[-_][A-Za-z0-9]{1,8})*)?$"
"""A language tag (RFC 5646), or nothing."""

_ROLE = f"(?i)^(?:{'|'.join(Role)})$"
_NO_NUL = r"^[^\x00]*$"  # PostgreSQL has no such character

_Required = StringConstraints(strip_whitespace=True, min_length=1)
_Optional = StringConstraints(strip_whitespace=True, max_length=200, pattern=_NO_NUL)


class UserRow(TypedDict):
    """Values are trimmed. An optional one that is absent, None or empty is not given; other keys are dropped.

    The limits: 254 characters are the longest address that fits into a mail transaction (RFC 5321, section 4.5.3.1.3,
    erratum 1690), 35 what a language tag needs (RFC 5646, section 4.4.1), 200 generous.
    """

    email: Annotated[str, _Required, StringConstraints(max_length=254, pattern=EMAIL)]
    name: Annotated[str, _Required, StringConstraints(max_length=200, pattern=_NO_NUL)]
    role: Annotated[str, _Required, StringConstraints(to_lower=True, pattern=_ROLE)]
    external_id: NotRequired[Annotated[str, _Optional, Field(coerce_numbers_to_str=True)] | None]
    locale: NotRequired[Annotated[str, StringConstraints(strip_whitespace=True, max_length=35, pattern=LOCALE)] | None]
    department: NotRequired[Annotated[str, _Optional] | None]
