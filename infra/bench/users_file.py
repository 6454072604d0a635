"""The benchmark's input: users with names and addresses of ordinary length, and a share of bad rows."""

from itertools import islice
from pathlib import Path
from random import Random

COLUMNS = "email,name,role,external_id,locale,department\n"
ROLES = ("member",) * 17 + ("viewer", "admin", "owner")
LOCALES = ("en-GB", "de-DE", "fr-FR", "es-ES")
DEPARTMENTS = ("Sales", "Support", "Finance", "Research and Development", "Operations")
_SLAB = 50_000


def write_users(path: Path, rows: int, *, bad_share: float, seed: int = 1) -> Path:
    """Write a CSV file; of the bad rows half are duplicates, half have an invalid address. The same for equal seeds.

    Addresses begin with random letters, so that the index on them is not filled in order.
    """
    random = Random(seed)  # noqa: S311 - rows for a benchmark, not secrets
    with path.open("w", encoding="utf-8") as file:
        file.write(COLUMNS)
        for first in range(1, rows + 1, _SLAB):
            lines = (_line(random, n, bad_share) for n in range(first, rows + 1))
            file.writelines(islice(lines, _SLAB))
    return path


def _line(random: Random, number: int, bad_share: float) -> str:
    email = f"{random.getrandbits(40):010x}.{number}@example.org"
    if bad_share and random.random() < bad_share:
        email = "twice@example.org" if number % 2 else f"no-address-{number}"
    return (
        f"{email},Firstname Lastname{number},{ROLES[number % 20]},e-{number},{LOCALES[number % 4]},"
        f"{DEPARTMENTS[number % 5]}\n"
    )
