"""Undo records: what a compensation needs to know about the state before."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class UndoRecord:
    """One item's state before it was changed. `before` is JSON-serialisable; its shape is the action's business."""

    ordinal: int
    before: Mapping[str, Any]
