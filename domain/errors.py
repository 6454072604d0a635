"""Errors people see. Each says what is wrong, where, and what to do; `code` is the same thing for programs."""

from typing import ClassVar


class HaulageError(Exception):
    """Base of all errors Haulage raises on purpose. `str(error)` is a sentence for a person."""

    code: ClassVar[str] = "error"


class RefusedError(HaulageError):
    """A command or an input that is not accepted; nothing was changed."""

    code = "refused"


class InputError(RefusedError):
    """The input as a whole can't be used: missing, unreadable, empty, of the wrong shape."""

    code = "input"


class NotFoundError(RefusedError):
    """What the command names does not exist."""

    code = "not_found"


class NotNowError(HaulageError):
    """Nobody's fault, and no attempt: the same thing works when what is missing is back."""

    code = "not_now"


class NotReachableError(NotNowError):
    """PostgreSQL or NATS can't be reached."""

    code = "not_reachable"


class NoRoomError(NotNowError):
    """A disk is full. Whatever was tried can be tried again when there is space."""

    code = "no_room"


class ConflictError(HaulageError):
    """The stream has moved on: somebody else was first, or we were and the answer was lost; the event ids tell which.

    Read again, decide again, append again.
    """

    code = "conflict"


class LateAppendError(HaulageError):
    """The transaction wrote before another that already appended to this stream. Start over in a new transaction."""

    code = "late_append"


class FencedError(HaulageError):
    """The claim has gone to another session meanwhile; whatever this one was about to write is dropped."""

    code = "fenced"


class ParticipantRefusedError(HaulageError):
    """The participant refused a chunk applied the fast way; it must be diagnosed item by set."""

    code = "participant_refused"
