"""`haulage kinds`: what can be run, and with which parameters."""

from typing import Any

from pydantic import BaseModel

from haulage.infra.cli.terminal import emit_lines, write
from haulage.sagas.catalogue import CATALOGUE
from haulage.sagas.definition import Definition, Definitions


def kinds(*, as_json: bool) -> None:
    """The newest version of each kind. Needs no servers."""
    definitions = Definitions(CATALOGUE)
    latest = [definitions.latest(kind) for kind in definitions.kinds()]
    if as_json:
        emit_lines(map(_document, latest))
        return
    for definition in latest:
        _write(definition)


def _document(definition: Definition) -> dict[str, Any]:
    return {
        "kind": definition.kind,
        "version": definition.version,
        "summary": definition.summary,
        "columns": list(definition.columns),
        "steps": [step.name for step in definition.steps],
        "parameters": definition.parameters.model_json_schema(),
        "messages": dict(definition.messages),
    }


def _write(definition: Definition) -> None:
    write(f"{definition.kind} (version {definition.version})")
    write(f"  {definition.summary}")
    if definition.columns:
        write(f"  --input FILE with the columns {', '.join(definition.columns)}")
    for line in _parameters(definition.parameters):
        write(f"  {line}")


def _parameters(model: type[BaseModel]) -> list[str]:
    schema = model.model_json_schema()
    required, named = schema.get("required", []), schema.get("$defs", {})
    return [
        f"-p {name}={_values(about, named)}  {_necessity(name in required, about)}{_described(about)}"
        for name, about in schema.get("properties", {}).items()
    ]


def _values(about: dict[str, Any], named: dict[str, Any]) -> str:
    about = about | named.get(about.get("$ref", "").rpartition("/")[2], {})
    return "|".join(map(str, about["enum"])) if "enum" in about else str(about.get("type", "VALUE")).upper()


def _necessity(required: bool, about: dict[str, Any]) -> str:
    return "(required)" if required else f"(default {about.get('default')})"


def _described(about: dict[str, Any]) -> str:
    return f" {about['description']}" if about.get("description") else ""
