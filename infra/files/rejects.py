"""The rejects file: items that ended rejected, with the reason and the original values, to be fixed and resubmitted.

Four columns of ours, `row`, `code`, `field`, `message`, then the original ones. Where an original column has one of
these names, ours is prefixed with `reject_`. An input that begins with our four columns is taken for a rejects file
that came back: they are left out, so that what was fixed can be resubmitted as it is.

In CSV, a spreadsheet would take a cell that begins with `=`, `+`, `-`, `@`, a tab or a carriage return for a formula
(OWASP, "CSV Injection"): such a cell gets an apostrophe in front. Resubmitting takes it off again; so that nothing else
is lost by that, a cell that begins with apostrophes and then one of these gets one more too.

The file is written beside its place and then renamed: there is the whole file or none, readable by its owner only.
"""

import csv
import errno
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkstemp
from typing import IO, Any, NamedTuple

import orjson

from haulage.domain.errors import HaulageError

REJECT_COLUMNS = ("row", "code", "field", "message")

_PREFIX = "reject_"
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_ESCAPED = re.compile(r"'+[=+\-@\t\r]")


class Reject(NamedTuple):
    """One item of the rejects file. `row` is the number people know it by; `content` is as in `Items`."""

    row: int
    code: str
    field: str | None
    message: str
    content: Any


# -- formulas ----------------------------------------------------------------------------------------------------------
def escape(cell: str) -> str:
    """`cell` so that no spreadsheet takes it for a formula."""
    return "'" + cell if _FORMULA.match(cell) else cell


def unescape(cell: str) -> str:
    """What `escape` was given."""
    return cell[1:] if _ESCAPED.match(cell) else cell


# -- our columns and theirs --------------------------------------------------------------------------------------------
def our_names(taken: Iterable[str]) -> list[str]:
    """The names of our four columns beside columns whose names are `taken`."""
    lower = {name.strip().lower() for name in taken}
    return [_free(name, lower) for name in REJECT_COLUMNS]


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name = _PREFIX + name
    return name


def is_rejects_header(names: Iterable[str]) -> bool:
    """Whether columns or keys, in order, begin with our four."""
    names = [name.strip().lower() for name in names]
    return names[: len(REJECT_COLUMNS)] == our_names(names[len(REJECT_COLUMNS) :])


def original(item: Mapping[str, Any]) -> dict[str, Any]:
    """An object from a rejects file without our fields."""
    return dict(list(item.items())[len(REJECT_COLUMNS) :]) if is_rejects_header(item) else dict(item)


# -- writing -----------------------------------------------------------------------------------------------------------
def write_rejects(path: Path, rejects: Iterable[Reject], *, file_format: str, columns: Sequence[str] | None) -> int:
    """Write `rejects` as `csv` or `ndjson` to `path`, in place of what was there; how many they are.

    `columns` are the original columns' names; None where items are objects, which in CSV become one column `item` of
    JSON. Raises `HaulageError` where the file can't be written; then what was at `path` is still there.
    """
    write = {"csv": _write_csv, "ndjson": _write_ndjson}[file_format]
    try:
        if path.exists() and not path.is_file():
            raise HaulageError(f"{path} is no regular file; name a file to write the rejects to")
        with _replacing(path) as file:
            return write(file, rejects, columns)
    except OSError as error:
        raise HaulageError(_why_not_written(path, error)) from error


def _write_csv(file: IO[str], rejects: Iterable[Reject], columns: Sequence[str] | None) -> int:
    # Lines end in \r\n as in RFC 4180; then the writer also quotes cells with a bare \r or \n in them.
    writer = csv.writer(file, lineterminator="\r\n")
    names = ["item"] if columns is None else list(columns)
    writer.writerow([*our_names(names), *map(escape, names)])
    written = 0
    for row, code, field, message, content in rejects:
        writer.writerow([row, *map(escape, [code, field or "", message, *_cells(content)])])
        written += 1
    return written


def _cells(content: Any) -> list[str]:
    """The original values; of what could not be parsed, the raw text in one cell."""
    if isinstance(content, list):
        return content
    return [_raw(content) if isinstance(content, str) else orjson.dumps(content).decode()]


def _write_ndjson(file: IO[str], rejects: Iterable[Reject], columns: Sequence[str] | None) -> int:
    written = 0
    for row, code, field, message, content in rejects:
        item = _object(content, columns)
        ours = dict(zip(our_names(item), (row, code, field, message), strict=True))
        file.write((orjson.dumps(ours | item) + b"\n").decode())
        written += 1
    return written


def _object(content: Any, columns: Sequence[str] | None) -> dict[str, Any]:
    """The original object, or values by column; under `raw` what is neither."""
    if isinstance(content, dict):
        return content
    if isinstance(content, list) and columns and len(content) == len(columns):
        return dict(zip(columns, content, strict=True))
    return {"raw": _raw(content) if isinstance(content, str) else content}


def _raw(content: str) -> str:
    return content.partition("\n")[2]


@contextmanager
def _replacing(path: Path) -> Iterator[IO[str]]:
    """A file of mode 0600 that takes the place of `path` when all went well."""
    # Beside it, since a rename does not cross file systems.
    descriptor, temporary = mkstemp(prefix=".haulage-", suffix=".tmp", dir=path.absolute().parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _why_not_written(path: Path, error: OSError) -> str:
    folder = path.absolute().parent
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return f"the disk of {folder} is full: the rejects were not written; make space or choose another place"
        case errno.ENOENT | errno.ENOTDIR:
            return f"{folder} is no directory: the rejects were not written; create it or choose another place"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return f"{folder} is not writable: the rejects were not written; choose another place"
        case _:
            return f"the rejects could not be written to {path}: {error.strerror}; choose another place"
