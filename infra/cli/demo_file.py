"""The file of the demo: users one could believe in, and among them, on purpose, some rows that can't be imported.

The same rows, domain and seed give the same file. A million rows take a few seconds: names are picked by the bytes of
one random string, and everything about a name is spelled out once, before the first row.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

COLUMNS = ("email", "name", "role", "external_id", "locale", "department")

BAD_EVERY = 200
"""One row in so many is bad: half a percent."""

_SLAB = 10_000

_FIRST = (
    "Anna Ben Chloé Dmitri Elif Farah Giulia Hugo Ines Jonas Kofi Léa Mateo Nadia Olga Pedro Quentin Rosa Søren Tomás "
    "Uma Viktor Wanjiru Ximena Yuki Zoë Amara Björn Camille Daniel Emeka Fatima Grace Henrik Imani Jakub Keiko Liam "
    "Mina Noah Oona Priya Rafael Sofia Theo Ulrike Vera Walid Yara Zeynep"
)
_LAST = (
    "Schmidt Okafor García Müller Rossi Dubois Novák Tanaka Singh Kim Johansson Costa Haddad Nguyen Kowalski Silva "
    "O'Brien Jensen Petrov Yılmaz Mensah Fernández Larsen Moreau Bianchi Sato Ivanova Ali Weber Lindqvist Popescu "
    "Castillo Horváth Bauer Lefèvre Andersen Marino Suzuki Khan Eriksson Pereira Diallo Santos Wójcik Fischer Virtanen "
    "Adeyemi Ricci Lopes Mwangi"
)
_ASCII = str.maketrans("éèëíøöüáñýıóçåä", "eeeioouanyiocaa")

_LOCALES = ("en-GB", "en-US", "de-DE", "fr-FR", "es-ES", "pt-BR", "it-IT", "ja-JP", "sv-SE", "pl-PL", "tr-TR", "")
_DEPARTMENTS = (
    "Sales",
    "Support",
    "Finance",
    "Legal",
    "Operations",
    '"Research, Development"',
    "Marketing",
    '"The ""Special"" Projects"',
    "",
)

Row = tuple[str, str, str, str, str, str]
"""Values in the order of `COLUMNS`, each as it stands in the file."""


@dataclass(frozen=True, slots=True)
class DemoFile:
    """What was written: `bad` of the `rows` can't be imported."""

    path: Path
    rows: int
    bad: int


def write_demo_file(path: Path, rows: int, domain: str, seed: int = 1) -> DemoFile:
    """Write `rows` users with addresses at `domain` to `path`, which is replaced. Raises OSError."""
    random = Random(f"{seed}/{rows}/{domain}")  # noqa: S311 - users for a demo, not secrets
    bad = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(COLUMNS) + "\n")
        for first in range(1, rows + 1, _SLAB):
            users = list(_users(random, range(first, min(first + _SLAB, rows + 1)), domain))
            lines = list(map(",".join, users))
            for place in _bad_places(random, len(users)):
                lines[place] = _FAULTS[bad % len(_FAULTS)](users, place)
                bad += 1
            file.write("\n".join(lines) + "\n")
    return DemoFile(path, rows, bad)


def _users(random: Random, ordinals: range, domain: str) -> Iterator[Row]:
    count = len(ordinals)
    firsts, lasts, roles, locales, departments = (random.randbytes(count) for _ in range(5))
    for ordinal, first, last, role, locale, department in zip(
        ordinals, firsts, lasts, roles, locales, departments, strict=True
    ):
        given, given_address = _FIRSTS[first]
        family, family_address = _LASTS[last]
        yield (
            f"{given_address}.{family_address}{ordinal}@{domain}",
            f"{given} {family}",
            _ROLE_OF[role],
            f"u-{ordinal:07}",
            _LOCALE_OF[locale],
            _DEPARTMENT_OF[department],
        )


def _bad_places(random: Random, count: int) -> list[int]:
    """One in each `BAD_EVERY`, never the first, which a duplicate needs before it; a small file has a few as well."""
    every = min(BAD_EVERY, max(5, count // 5))
    return [start + random.randrange(1, every) for start in range(0, count - every + 1, every)]


# -- what can be wrong with a row --------------------------------------------------------------------------------------
def _without_at(users: Sequence[Row], place: int) -> str:
    address, *others = users[place]
    return ",".join([address.replace("@", " at "), *others])


def _taken(users: Sequence[Row], place: int) -> str:
    # In capitals: addresses are the same whatever their case.
    _, *others = users[place]
    return ",".join([users[place - 1][0].upper(), *others])


def _unknown_role(users: Sequence[Row], place: int) -> str:
    address, name, _, *others = users[place]
    return ",".join([address, name, "superuser", *others])


def _too_short(users: Sequence[Row], place: int) -> str:
    return ",".join(users[place][:3])


def _too_long(users: Sequence[Row], place: int) -> str:
    # A comma that somebody forgot to quote.
    address, name, *others = users[place]
    return ",".join([address, *name.split(" ", 1), *others])


def _without_address(users: Sequence[Row], place: int) -> str:
    return ",".join(["", *users[place][1:]])


_FAULTS: tuple[Callable[[Sequence[Row], int], str], ...] = (
    _without_at,
    _taken,
    _unknown_role,
    _too_short,
    _taken,
    _without_address,
    _too_long,
)


# -- one entry for each value of a byte --------------------------------------------------------------------------------
def _spread(values: Sequence[str]) -> list[str]:
    return [values[byte % len(values)] for byte in range(256)]


def _with_address(names: Sequence[str]) -> list[tuple[str, str]]:
    return [(name, name.lower().translate(_ASCII).replace("'", "")) for name in _spread(names)]


_FIRSTS = _with_address(_FIRST.split())
_LASTS = _with_address(_LAST.split())
_LOCALE_OF = _spread(_LOCALES)
_DEPARTMENT_OF = _spread(_DEPARTMENTS)
_ROLE_OF = ["owner"] + ["admin"] * 12 + ["viewer"] * 43 + ["member"] * 200
