"""The intake as the bus sees it: messages in, replies out, in the same order."""

from collections.abc import Sequence
from pathlib import Path

from haulage.domain.commands import Input
from haulage.domain.errors import HaulageError, RefusedError
from haulage.infra.nats.messages import MessageError, Received, Reply, refusal
from haulage.sagas.intake import Answer, Intake, Submitted


class CommandHandler:
    """Turns what the bus received into commands for the intake, and its answers into replies."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def handle(self, group: Sequence[Received]) -> list[Reply]:
        """One reply for each message. What can't be read is refused by itself, and never costs its neighbours.

        Where the database can't be reached every sender is told so, and repeats.
        """
        replies: dict[int, Reply] = {}
        readable: dict[int, Submitted] = {}
        for place, received in enumerate(group):
            try:
                readable[place] = Submitted(received.tenant, received.actor, received.verb, received.command)
            except MessageError as error:
                replies[place] = refusal(error)
        if readable:
            replies |= dict(zip(readable, self._answers(list(readable.values())), strict=True))
        return [replies[place] for place in range(len(group))]

    def _answers(self, submitted: Sequence[Submitted]) -> list[Reply]:
        try:
            return [_reply(answer) for answer in self._intake.handle(submitted)]
        except HaulageError as error:
            return [Reply(ok=False, code=error.code, message=str(error))] * len(submitted)


class InputPolicy:
    """Which inputs a command may name: files in `folders` (None: anywhere), and objects of the object store."""

    def __init__(self, folders: Sequence[Path] | None) -> None:
        self._folders = folders

    def __call__(self, given: Input) -> None:
        """Raise `RefusedError` for what is not allowed. Whether the file can be read is found out when planning."""
        if given.path is None:
            return
        path = Path(given.path)
        if not path.is_absolute():
            raise RefusedError("The path of an input must be absolute: a worker does not stand where you stand.")
        if self._folders is not None and not any(path.resolve().is_relative_to(f.resolve()) for f in self._folders):
            raise RefusedError(
                "The path of the input is in none of the folders that workers here may read (HAULAGE_INPUT_FOLDERS). "
                "Upload the file instead: `haulage run --upload`, or the object store."
            )


def _reply(answer: Answer) -> Reply:
    return Reply(answer.ok, answer.operation, answer.status, answer.code, answer.message)
