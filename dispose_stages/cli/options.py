"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dispose_stages.errors import ConfigError

run_dir_argument = click.argument(
    "run_dir", type=click.Path(file_okay=False, path_type=Path), metavar="RUN_DIR"
)
"""``<results>/<run>`` as an argument."""

run_dir_option = click.option(
    "--run-dir",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the run: <results>/<run>.",
)
"""The same as an option."""

config_option = click.option(
    "--config",
    "config_file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("config/config.yaml"),
    show_default=True,
    help="Configuration file.",
)


def read_yaml(path: Path) -> dict[str, Any]:
    """Raw values of a configuration file.

    Raises:
        ConfigError: It cannot be read or is not a mapping.
    """
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} cannot be read: {reason}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected keys and values")
    return values


def parse_settings(settings: tuple[str, ...]) -> dict[str, Any]:
    """``("parameters.seed=3", "run=x")`` as nested values; right-hand sides are YAML.

    Raises:
        ConfigError: One of them is not ``key=value``.
    """
    import yaml

    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not all(name.split(".")):
            raise ConfigError(
                f"--set {setting!r}: expected key=value, for instance parameters.seed=3"
            )
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f"--set {setting!r}: the value is not YAML") from None
        *path, last = name.split(".")
        section = values
        for part in path:
            section = section.setdefault(part, {})
            if not isinstance(section, dict):
                raise ConfigError(f"--set {setting!r}: {part} already has a value")
        section[last] = value
    return values
