"""Parameters of an operation as they are typed: `-p NAME=VALUE`."""

import json
import math
from collections.abc import Sequence
from typing import Any

from haulage.infra.cli.failures import UsageError


def parse_parameters(given: Sequence[str]) -> dict[str, Any]:
    """Names with their values; UsageError for one without `=`, without a name, or given twice."""
    parameters: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"`-p {text}` should be NAME=VALUE, such as `-p organization=acme`.")
        if name in parameters:
            raise UsageError(f"The parameter `{name}` is given twice. Give it once.")
        parameters[name] = parse_value(value)
    return parameters


def parse_value(text: str) -> Any:
    """JSON where `text` is JSON (a number, true, false, null, an object, a list, a quoted string), else `text` itself.

    So `5` is a number and `"5"` a string. What JSON has no number for (NaN, 1e999) stays text.
    """
    try:
        value = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(value, float) and not math.isfinite(value) else value


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
