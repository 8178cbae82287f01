"""Splits in which no group (an identity, a driver) appears twice.

A pair joins an identity with a driver, so groups form a graph. Where it falls into parts, whole
parts go to splits and nothing is lost. A part too large for any split (every image crossed with
every video is one part) has to be cut: each identity and each driver gets a split of its own, and
pairs between two splits are dropped. To come out at a share `f` of the kept pairs, a split takes
the share sqrt(f) of the identities and of the drivers, scaled to sum to one; where everything is
crossed with everything, no other choice keeps more. Ties and order come from a hash of the groups'
names, so the order of the pairs does not matter.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence

Groups = tuple[str, ...]
"""Names of a pair's groups, one per kind of group."""
TOLERANCE = 0.1
"""A part that is larger than what its split still wants by at most this share is not cut."""


def split_by_group(pairs: Sequence[Groups], shares: Mapping[str, float]) -> list[str | None]:
    """Split of every pair; None for a pair whose groups are in different splits.

    Args:
        pairs: Their groups.
        shares: Split to wanted share of the pairs; sums to 1.
    """
    wanted = {split: share * len(pairs) for split, share in shares.items()}
    splits: list[str | None] = [None] * len(pairs)
    cut: list[int] = []
    for part in _parts(pairs):
        home = _neediest(wanted)
        fits = len(part) <= wanted[home] + TOLERANCE * len(pairs)
        if not fits and _can_be_cut(part, pairs, len(shares)):
            cut += part
            continue
        wanted[home] -= len(part)
        for index in part:
            splits[index] = home
    if cut:
        assigned = _cut([pairs[index] for index in cut], wanted)
        for index, split in zip(cut, assigned, strict=True):
            splits[index] = split
    return splits


def shared_groups(pairs: Iterable[Groups], splits: Iterable[str | None]) -> list[int]:
    """Per kind of group, how many are in more than one split."""
    seen: dict[tuple[int, str], set[str]] = defaultdict(set)
    kinds = 0
    for groups, split in zip(pairs, splits, strict=True):
        kinds = len(groups)
        for kind, name in enumerate(groups):
            if split is not None:
                seen[kind, name].add(split)
    return [sum(k == kind and len(s) > 1 for (k, _), s in seen.items()) for kind in range(kinds)]


def _parts(pairs: Sequence[Groups]) -> list[list[int]]:
    """Indices of pairs that hang together, largest part first."""
    parent: dict[Hashable, Hashable] = {}

    def root(node: Hashable) -> Hashable:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for groups in pairs:
        first, *others = (root((kind, name)) for kind, name in enumerate(groups))
        for other in others:
            parent[root(other)] = root(first)
    parts: dict[Hashable, list[int]] = defaultdict(list)
    for index, groups in enumerate(pairs):
        parts[root((0, groups[0]))].append(index)
    return sorted(parts.values(), key=lambda part: (-len(part), _first_hash(part, pairs)))


def _first_hash(part: Sequence[int], pairs: Sequence[Groups]) -> bytes:
    return min(_hash(pairs[index][0]) for index in part)


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _can_be_cut(part: Sequence[int], pairs: Sequence[Groups], splits: int) -> bool:
    """With fewer groups than splits, cutting leaves splits empty and loses pairs for nothing."""
    return all(len(set(names)) >= splits for names in zip(*(pairs[i] for i in part), strict=True))


def _neediest(wanted: Mapping[str, float]) -> str:
    return max(wanted, key=lambda split: wanted[split])


def _cut(pairs: Sequence[Groups], wanted: Mapping[str, float]) -> list[str | None]:
    kinds = len(pairs[0])
    roots = {split: max(want, 0.0) ** (1 / kinds) for split, want in wanted.items()}
    shares = {split: value / sum(roots.values()) for split, value in roots.items()}
    homes = [_dealt(Counter(groups[kind] for groups in pairs), shares) for kind in range(kinds)]
    found = ({homes[kind][name] for kind, name in enumerate(groups)} for groups in pairs)
    return [next(iter(splits)) if len(splits) == 1 else None for splits in found]


def _dealt(sizes: Mapping[str, int], shares: Mapping[str, float]) -> dict[str, str]:
    """A split per group, so that each split gets its share of the pairs' ends."""
    total = sum(sizes.values())
    wanted = {split: share * total for split, share in shares.items()}
    homes: dict[str, str] = {}
    for name in sorted(sizes, key=_hash):
        homes[name] = _neediest(wanted)
        wanted[homes[name]] -= sizes[name]
    return homes
