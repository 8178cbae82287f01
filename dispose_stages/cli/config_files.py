"""``config/config.yaml``, its JSON Schema and its README, all generated from the models."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dispose_stages.atomic import write_text_if_changed
from dispose_stages.config import Config, json_schema
from dispose_stages.config_models import BUNDLE_DEFAULTS
from dispose_stages.config_sampling import EFFORTS
from dispose_stages.config_section import Section
from dispose_stages.wording import wrapped

FIXING_COMMAND = "dispose config"

_HEAD = """\
# Every key, checked against config.schema.json; as it stands, the demo on the small bundle.
# Another run: write a file with the keys that differ and pass it with --config, or set single
# keys: dispose run --set run=mine --set parameters.seed=7. One row per key: README.md.
# Keys that are commented out have defaults that suit bundle and effort.
# Written by `dispose config`; the texts come from dispose_stages/config.py.
# yaml-language-server: $schema=config.schema.json
"""
_README_HEAD = """\
# Configuration

`config.yaml` holds every key and, as it stands, runs the demo on the small bundle. Where a bundle
or an effort brings a default of its own, the table says so, and the key is commented out. For a run
of your own, write a file with the keys that differ and pass it with `--config my.yaml`, or set
single keys with `dispose run --set parameters.seed=7`. Unknown keys and wrong values are errors
that name the key. Keys below `parameters` may be overridden by each row of the manifest
([manifests/README.md](../manifests/README.md)).

Relative paths start at the working directory; paths inside a manifest start at the manifest's
folder. Changing a key recomputes only the stages whose results it enters; `compute`, `shards` and
the batch sizes enter none.

| key | default | allowed | meaning |
|---|---|---|---|
"""
_README_TAIL = f"""
This file, `config.yaml` and `config.schema.json` are written by `{FIXING_COMMAND}` from
`dispose_stages/config.py`; a test fails when they disagree.
"""
_LIMITS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "multipleOf": "multiple of {}",
    "pattern": "`{}`",
}
_TYPES = {
    "integer": "integer",
    "number": "number",
    "string": "text",
    "object": "mapping",
    "null": "empty",
}


def _section(info: FieldInfo) -> type[Section] | None:
    kind = info.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _describe(info: FieldInfo) -> str:
    section = _section(info)
    text = info.description or (section.__doc__ if section else "") or ""
    return " ".join(text.split())


def _scalar(value: Any) -> str:
    """A value as YAML on one line."""
    if isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False)
    text = yaml.safe_dump(value, allow_unicode=True, default_flow_style=isinstance(value, tuple))
    return str(text).removesuffix("...\n").strip()


def _other_defaults(section: str, name: str) -> str:
    """Which bundles and efforts have another default for a key, e.g. ``tiny: 128``."""
    values = {bundle: parts.get(section, {}) for bundle, parts in BUNDLE_DEFAULTS.items()}
    if section == "sampling":
        values |= EFFORTS
    return ", ".join(f"{b}: {_scalar(part[name])}" for b, part in values.items() if name in part)


def _lines(model: type[BaseModel], value: Any, section_name: str = "") -> Iterator[str]:
    depth = 1 if section_name else 0
    indent = "  " * depth
    for name, info in model.model_fields.items():
        current = getattr(value, name)
        section = _section(info)
        note = _describe(info)
        if not depth:
            yield ""
        comment = f"{indent}# "
        yield from wrapped(note, 96, comment)
        if section is not None:
            yield f"{indent}{name}:"
            yield from _lines(section, current, name)
        elif isinstance(current, Mapping):
            yield f"{indent}{name}:"
            yield from (f"{indent}  {key}: {_scalar(item)}" for key, item in current.items())
        elif own := _other_defaults(section_name, name):
            yield f"{indent}# {name}: {_scalar(current)}  # {own}"
        else:
            yield f"{indent}{name}: {_scalar(current)}"


def config_yaml() -> str:
    """The text of ``config/config.yaml``."""
    return _HEAD + "\n".join(_lines(Config, Config())) + "\n"


def _allowed(schema: Mapping[str, Any]) -> str:
    """Values a key may have, from its part of the JSON Schema."""
    if "anyOf" in schema:
        return " or ".join(_allowed(part) for part in schema["anyOf"])
    choices = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if choices:
        return ", ".join(f"`{value}`" for value in choices)
    if schema["type"] == "array":
        return f"list of {_allowed(schema['items'])}"
    if schema["type"] == "boolean":
        return "`true`, `false`"
    limits = [text.format(_limit(schema[k])) for k, text in _LIMITS.items() if k in schema]
    return ", ".join([_TYPES[schema["type"]], *limits])


def _limit(value: Any) -> Any:
    return "2^63" if value == 2**63 else value


def _readme_rows(model: type[BaseModel], schema: Mapping[str, Any], prefix: str) -> Iterator[str]:
    defaults = model().model_dump(mode="json")
    properties = schema["$defs"][model.__name__] if prefix else schema
    for name, info in model.model_fields.items():
        section = _section(info)
        if section is not None:
            yield f"| **`{prefix}{name}`** | | | {_describe(info)} |"
            yield from _readme_rows(section, schema, f"{prefix}{name}.")
            continue
        own = _other_defaults(prefix.rstrip("."), name)
        cells = (
            f"`{prefix}{name}`",
            f"`{_scalar(defaults[name])}`" + (f" ({own})" if own else ""),
            _allowed(properties["properties"][name]),
            _describe(info),
        )
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def config_readme() -> str:
    """The text of ``config/README.md``: one row per key."""
    rows = "\n".join(_readme_rows(Config, json_schema(), ""))
    return f"{_README_HEAD}{rows}\n{_README_TAIL}"


def generated_files(folder: Path) -> dict[Path, str]:
    """File to the text it should hold."""
    schema = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    return {
        folder / "config.yaml": config_yaml(),
        folder / "config.schema.json": schema,
        folder / "README.md": config_readme(),
    }


def outdated_files(folder: Path) -> list[Path]:
    """Files that do not say what the models say."""
    outdated = []
    for path, text in generated_files(folder).items():
        try:
            current = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            current = None
        if current != text:
            outdated.append(path)
    return outdated


def write_files(folder: Path) -> list[Path]:
    """Write what is outdated; returns what was written."""
    written = generated_files(folder).items()
    return [path for path, text in written if write_text_if_changed(path, text)]
