"""`haulage directory organization`: the organizations of the reference directory."""

from itertools import count
from typing import Any

from haulage.domain.directory import Directory, Organization
from haulage.domain.errors import RefusedError
from haulage.infra.bootstrap import Parts
from haulage.infra.cli import wording
from haulage.infra.cli.access import NothingYetError, opened, reading
from haulage.infra.cli.terminal import emit, emit_lines, hint, write, write_table
from haulage.infra.settings import Settings

PARTICIPANT = "directory"

TRIES = 20


def create(settings: Settings, slug: str, *, name: str | None, as_json: bool) -> None:
    """Create one; RefusedError where the slug is taken or no token."""
    with opened(settings) as parts:
        made = _create(parts, slug, name or slug)
    if as_json:
        emit(_document(made, members=0))
    else:
        write(made.slug)
        hint(f"`haulage run import-users --input FILE -p organization={made.slug}` imports users into it.")


def list_organizations(settings: Settings, *, as_json: bool) -> None:
    """All, with the number of their members."""
    try:
        with reading(settings) as parts, parts.store.begin() as unit:
            directory: Directory = unit.participant(PARTICIPANT)
            found, members = directory.organizations(), directory.member_counts()
    except NothingYetError as error:
        hint(str(error))
        return
    if as_json:
        emit_lines(_document(one, members.get(one.id, 0)) for one in found)
    elif found:
        rows = [[one.slug, one.name, f"{members.get(one.id, 0):,}", wording.when(one.created_at)] for one in found]
        write_table(["slug", "name", "members", "created"], rows, right=["members"])
    else:
        hint("There are no organizations yet. `haulage directory organization create SLUG` makes one.")


def create_fresh(parts: Parts, slug: str) -> str:
    """Create an organization called `slug`, or `slug-2`, `slug-3`, … where that is taken; its slug."""
    with parts.store.begin() as unit:
        directory: Directory = unit.participant(PARTICIPANT)
        taken = {one.slug for one in directory.organizations()}
    for _ in range(TRIES):
        free = next(name for n in count(1) if (name := slug if n == 1 else f"{slug}-{n}") not in taken)
        try:
            return _create(parts, free, free).slug
        except RefusedError:
            # Somebody else was faster.
            taken.add(free)
    raise RefusedError(f"Every slug like `{slug}` that was tried is taken.")


def _create(parts: Parts, slug: str, name: str) -> Organization:
    with parts.store.begin() as unit:
        directory: Directory = unit.participant(PARTICIPANT)
        return directory.create_organization(slug, name)


def _document(found: Organization, members: int) -> dict[str, Any]:
    return {
        "id": str(found.id),
        "slug": found.slug,
        "name": found.name,
        "members": members,
        "created_at": found.created_at.isoformat(),
    }
