"""`import-users`: create users, with a membership in one organization, from a file.

One step. A chunk is validated, then copied into the directory whole; where the directory refuses it, by sets. Rolled
back, users it created are removed and users it updated get their values back, except what was changed since.
"""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from haulage.domain.directory import Directory, NewUsers, OnConflict
from haulage.domain.identity import Token
from haulage.domain.items import Outcome, OutcomeKind
from haulage.domain.manifest import Items, Records
from haulage.domain.undo import UndoRecord
from haulage.domain.user_row import Role, UserRow
from haulage.sagas.definition import Applied, BulkStep, Checked, ChunkContext, Compensated, Definition


# -- parameters --------------------------------------------------------------------------------------------------------
class ImportUsers(BaseModel):
    """The parameters of `import-users`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    organization: Token = Field(description="slug of the organization the users become members of")
    on_conflict: OnConflict = Field(
        default=OnConflict.REJECT, description="what becomes of a row whose e-mail the directory has already"
    )


# -- what can be wrong -------------------------------------------------------------------------------------------------
MESSAGES: Mapping[str, str] = {
    "email_missing": "the row has no e-mail; fill in the column `email`",
    "email_invalid": "the e-mail is not a valid address; it should be like ann@example.org",
    "name_missing": "the row has no name; fill in the column `name`",
    "role_missing": f"the row has no role; fill in the column `role` with one of {', '.join(Role)}",
    "role_unknown": f"the role is unknown; use one of {', '.join(Role)}",
    "locale_invalid": "the locale is not a language tag; it should be like en or en-GB, or empty",
    "value_too_long": "the value is longer than its column allows (254 characters for `email`, 35 for `locale`, else "
    "200); shorten it",
    "value_not_text": "the value is not text in UTF-8; write it as a string",
    "nul_character": "the value contains a NUL character; remove it",
    "email_in_file": "another row of the same input has this e-mail and went first; keep only one of them",
    "email_in_directory": "the directory already has a user with this e-mail; remove the row, or run the import with "
    "on_conflict=skip or on_conflict=update",
    "exists": "the directory already has a user with this e-mail; as asked, the user was left as it is",
    "unchanged": "the directory already has the user with these values; there was nothing to update",
    "refused_by_directory": "a rule of the directory itself (a constraint or trigger added to its tables) refuses the "
    "row; correct the row, or ask whoever runs the directory",
    "changed_since": "the user was changed after the import, so the rollback left it as it is; decide by hand",
    "deleted_since": "the user was deleted after the import updated it, so there is nothing to give its values back to",
}
"""What each code means to a person, and what to do."""

_CODES: Mapping[tuple[str, str], str] = {
    ("string_pattern_mismatch", "email"): "email_invalid",
    ("string_pattern_mismatch", "role"): "role_unknown",
    ("string_pattern_mismatch", "locale"): "locale_invalid",
    ("string_pattern_mismatch", "name"): "nul_character",
    ("string_pattern_mismatch", "external_id"): "nul_character",
    ("string_pattern_mismatch", "department"): "nul_character",
}
"""From pydantic's words to ours; the other ones follow from the kind of error alone."""


# -- the action --------------------------------------------------------------------------------------------------------
_ROWS = TypeAdapter(list[UserRow])


class AddUsers:
    """Adds a chunk's users to the directory, in the transaction that records it."""

    participant_name = "directory"

    def verify(self, participant: Directory, parameters: ImportUsers) -> None:
        """`NotFoundError` where there is no such organization."""
        participant.organization(parameters.organization)

    def check(self, parameters: ImportUsers, items: Items) -> Checked:
        """Validate all at once; only where that fails, find out which items are to blame."""
        records = items.records()
        try:
            return Checked(records.ordinals, _ROWS.validate_python(records.values), records.refused)
        except ValidationError as error:
            return _without_bad(records, error)

    def apply(self, participant: Directory, chunk: ChunkContext, checked: Checked, *, careful: bool) -> Applied:
        """Copy the chunk in; `careful`: merge it, settling conflicts as the parameters say."""
        new = NewUsers(chunk.operation, chunk.parameters.organization, checked.ordinals, checked.values)
        if not careful:
            participant.add_users(new)
            return Applied()
        merged = participant.merge_users(new, chunk.parameters.on_conflict)
        return Applied(merged.exceptions, merged.undo)

    def compensate(
        self, participant: Directory, chunk: ChunkContext, outcomes: Sequence[Outcome], undo: Sequence[UndoRecord]
    ) -> Compensated:
        """Remove whom the chunk created and restore whom it updated; whoever was changed since is left."""
        del outcomes  # items without effect have neither a user with their id nor an undo record
        organization = chunk.parameters.organization
        left = participant.remove_users(chunk.operation, organization, chunk.first, chunk.last)
        changed = [Outcome(ordinal, OutcomeKind.SKIPPED, "changed_since") for ordinal in left]
        return Compensated([*changed, *participant.restore_users(chunk.operation, organization, undo)])


def _without_bad(records: Records, error: ValidationError) -> Checked:
    """The good ones' values, and for each bad one its first error, in the order of the columns."""
    bad: dict[int, Outcome] = {}
    for problem in error.errors(include_url=False, include_context=False):
        index, field = int(problem["loc"][0]), str(problem["loc"][1])
        if index not in bad:
            code = _code(problem["type"], field, missing=problem["input"] is None)
            bad[index] = Outcome(records.ordinals[index], OutcomeKind.REJECTED, code, field)
    good = [index for index in range(len(records.values)) if index not in bad]
    return Checked(
        [records.ordinals[index] for index in good],
        _ROWS.validate_python([records.values[index] for index in good]),
        [*records.refused, *bad.values()],
    )


def _code(error: str, field: str, *, missing: bool) -> str:
    if error in ("missing", "string_too_short") or missing:
        return f"{field}_missing"
    if error == "string_too_long":
        return "value_too_long"
    return _CODES.get((error, field), "value_not_text")


# -- the definition ----------------------------------------------------------------------------------------------------
IMPORT_USERS = Definition(
    kind="import-users",
    version=1,
    summary="Create users from a file and make them members of an organization.",
    parameters=ImportUsers,
    columns=("email", "name", "role"),
    steps=(BulkStep("add-users", AddUsers(), chunk_items=4000),),
    messages=MESSAGES,
)
