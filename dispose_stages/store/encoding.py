"""Artifact dataclasses as trees of arrays and plain values, and back by their type hints."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

import numpy as np
from jaxtyping import AbstractArray, jaxtyped

from dispose_stages.errors import ArtifactCorruptError
from dispose_stages.mapped import row_blocks

T = TypeVar("T")
Json = None | bool | int | float | str | list[Any] | dict[str, Any]

_HASHED_BYTES = 4 << 20
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True, slots=True)
class Tree:
    """What one zarr group holds.

    Attributes:
        values: Its scalars and tuples as JSON; not-finite floats as strings.
        arrays: Its arrays, little-endian and C-contiguous.
        axes: Axis names per array, None where an axis has a fixed size.
        groups: Its nested dataclasses.
    """

    kind: str
    values: dict[str, Json] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    axes: dict[str, tuple[str | None, ...]] = field(default_factory=dict)
    groups: dict[str, Tree] = field(default_factory=dict)

    def walk(self, prefix: str = "") -> Iterator[tuple[str, Tree]]:
        """This tree and all below, each with its path (``""``, ``"poses/"``, ...)."""
        yield prefix, self
        for name in sorted(self.groups):
            yield from self.groups[name].walk(f"{prefix}{name}/")


def stored_form(array: np.ndarray) -> np.ndarray:
    """Little-endian and C-contiguous; only booleans and numbers can be stored."""
    if array.dtype.kind not in "biuf":
        raise TypeError(f"arrays of {array.dtype} cannot be stored")
    return np.asanyarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


def content_digest(tree: Tree) -> str:
    """SHA-256 over kinds, values and arrays, in the order of their names.

    Keys, provenance and library versions are not part of it: equal results have equal digests.
    """
    digest = hashlib.sha256()
    for prefix, group in tree.walk():
        head = json.dumps([prefix, group.kind, group.values], sort_keys=True, allow_nan=False)
        digest.update(head.encode() + b"\n")
        for name in sorted(group.arrays):
            array = group.arrays[name]
            head = json.dumps([prefix + name, array.dtype.str, list(array.shape)])
            digest.update(head.encode() + b"\n")
            for _, block in row_blocks(array.reshape(-1).view(np.uint8), _HASHED_BYTES):
                digest.update(block.data)
    return digest.hexdigest()


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    """Evaluating annotations takes as long as reading a small artifact."""
    return typing.get_type_hints(kind)


def _is_array(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, AbstractArray)


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) in {typing.Union, types.UnionType}:
        (hint,) = [part for part in typing.get_args(hint) if part is not type(None)]
    return hint


def _axes(hint: Any) -> tuple[str | None, ...]:
    return tuple(name if name.isidentifier() else None for name in hint.dim_str.split())


def _encode_value(value: Any) -> Json:
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        number = float(value)
        if math.isfinite(number):
            return number
        return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
    if isinstance(value, tuple):
        return [_encode_value(part) for part in value]
    raise TypeError(f"a {type(value).__name__} cannot be stored")


def encode(artifact: Any) -> Tree:
    """Tree of a dataclass of arrays, scalars, tuples, None and further such dataclasses.

    Raises:
        TypeError: A field does not have the type or shape that its annotation states.
    """
    tree = Tree(kind=type(artifact).__name__)
    hints = _hints(type(artifact))  # type: ignore[arg-type]
    with jaxtyped("context"):  # an axis name means one size within one dataclass
        for spec in dataclasses.fields(artifact):
            value, hint = getattr(artifact, spec.name), _without_none(hints[spec.name])
            if value is None:
                continue
            if _is_array(hint):
                if not isinstance(value, hint):
                    raise TypeError(f"{tree.kind}.{spec.name} is not {hint.__name__}")
                tree.arrays[spec.name] = stored_form(value)
                tree.axes[spec.name] = _axes(hint)
            elif dataclasses.is_dataclass(value):
                continue  # below: its axis names are its own
            else:
                tree.values[spec.name] = _encode_value(value)
    for spec in dataclasses.fields(artifact):
        value = getattr(artifact, spec.name)
        if dataclasses.is_dataclass(value):
            tree.groups[spec.name] = encode(value)
    return tree


def _decode_value(value: Json, hint: Any, where: str) -> Any:
    if typing.get_origin(hint) is tuple:
        parts = typing.get_args(hint)
        if not isinstance(value, list):
            raise ArtifactCorruptError(f"{where} is not a list")
        if len(parts) == 2 and parts[1] is Ellipsis:
            parts = (parts[0],) * len(value)
        if len(value) != len(parts):
            raise ArtifactCorruptError(f"{where} has {len(value)} entries, not {len(parts)}")
        return tuple(_decode_value(v, p, where) for v, p in zip(value, parts, strict=True))
    if hint is float and isinstance(value, str) and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise ArtifactCorruptError(f"{where} is beyond any number") from None
    if isinstance(value, hint) and isinstance(value, bool) == (hint is bool):
        return value
    raise ArtifactCorruptError(f"{where} is {value!r}, not {hint.__name__}")


def decode(tree: Tree, artifact_type: type[T]) -> T:
    """The dataclass that `encode` was given.

    Raises:
        ArtifactCorruptError: The tree does not hold what the type's annotations ask for.
    """
    if tree.kind != artifact_type.__name__:
        raise ArtifactCorruptError(f"a {tree.kind} is stored, not a {artifact_type.__name__}")
    hints = _hints(artifact_type)  # type: ignore[arg-type]
    arguments: dict[str, Any] = {}
    for spec in dataclasses.fields(artifact_type):  # type: ignore[arg-type]
        hint = _without_none(hints[spec.name])
        if dataclasses.is_dataclass(hint) and spec.name in tree.groups:
            arguments[spec.name] = decode(tree.groups[spec.name], typing.cast("type[Any]", hint))
    with jaxtyped("context"):
        for spec in dataclasses.fields(artifact_type):  # type: ignore[arg-type]
            if spec.name not in arguments:
                arguments[spec.name] = _decode_field(tree, spec.name, hints[spec.name])
    return artifact_type(**arguments)


def _decode_field(tree: Tree, name: str, hint: Any) -> Any:
    where, inner = f"{tree.kind}.{name}", _without_none(hint)
    if name in tree.arrays and _is_array(inner):
        if not isinstance(tree.arrays[name], inner):
            raise ArtifactCorruptError(f"{where} is not {inner.__name__}")
        return tree.arrays[name]
    if name in tree.values:
        return _decode_value(tree.values[name], inner, where)
    if inner is not hint:  # optional
        return None
    raise ArtifactCorruptError(f"{where} is missing")


def check_values(values: object) -> Mapping[str, Json]:
    """`values` of an untrusted file, as a mapping from strings."""
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ArtifactCorruptError("attributes are not a mapping")
    return values
