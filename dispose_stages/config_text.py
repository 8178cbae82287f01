"""Raw values of a configuration: YAML files and ``key=value`` settings.

A value's type is decided by its key, not by YAML: every scalar but ``null`` stays text until
`dispose_stages.config` reads it. So `run: 007`, `run: no` and a date are names as they stand, and
`seed: 1_000` is no number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from dispose_stages.errors import ConfigError
from dispose_stages.records import read_bytes

MAX_BYTES = 1 << 20
_NULL = {"", "~", "null", "Null", "NULL"}


class _TextLoader(yaml.BaseLoader):
    """Scalars as text, plain ``null`` as None, every key once."""

    def construct_scalar(self, node: Any) -> Any:
        if isinstance(node, yaml.ScalarNode) and node.style is None and node.value in _NULL:
            return None
        return super().construct_scalar(node)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 - theirs
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        if twice := [key for key, count in keys.items() if count > 1]:
            problem = f"the key {twice[0]!r} stands there twice"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_mapping(node, deep=deep)


def parse_yaml(text: str) -> Any:
    """Nested mappings and lists of texts.

    Raises:
        yaml.YAMLError: It is not YAML, or a mapping has a key twice.
    """
    return yaml.load(text, Loader=_TextLoader)  # noqa: S506 - makes nothing but text


def read_config_file(path: Path) -> dict[str, Any]:
    """Raw values of a configuration file.

    Raises:
        ConfigError: It cannot be read or is not a mapping.
    """
    try:
        values = parse_yaml(read_bytes(path, limit=MAX_BYTES).decode())
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} cannot be read: {reason}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected keys and values")
    return values


def parse_settings(settings: Iterable[str]) -> dict[str, Any]:
    """``("parameters.seed=3", "run=x")`` as nested values.

    Right-hand sides are text as it stands; sections (``parameters={seed: 3}``), lists
    (``score.metrics=[pose]``) and what stands in quotes are YAML; nothing and ``null`` are no
    value.

    Raises:
        ConfigError: One of them is not ``key=value``.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not all(name.split(".")):
            raise ConfigError(
                f"--set {setting!r}: expected key=value, for instance parameters.seed=3"
            )
        *path, last = name.split(".")
        section = values
        for part in path:
            section = section.setdefault(part, {})
            if not isinstance(section, dict):
                raise ConfigError(f"--set {setting!r}: {part} already has a value")
        section[last] = _setting_value(text)
    return values


def _setting_value(text: str) -> Any:
    if text in _NULL:
        return None
    if text[:1] not in {"{", "[", '"', "'"}:
        return text
    try:
        return parse_yaml(text)
    except yaml.YAMLError:  # a name with braces or quotes in it
        return text


def merged(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` over `base`, section by section, as Snakemake does it."""
    result = dict(base)
    for key, value in values.items():
        below = result.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        result[key] = merged(below, value) if both and isinstance(below, Mapping) else value
    return result


def read_config_files(paths: Iterable[Path], settings: Iterable[str] = ()) -> dict[str, Any]:
    """Raw values of several files, later ones over earlier ones, and settings over all.

    Raises:
        ConfigError: A file or a setting cannot be read.
    """
    values: dict[str, Any] = {}
    for path in paths:
        values = merged(values, read_config_file(path))
    return merged(values, parse_settings(settings))
