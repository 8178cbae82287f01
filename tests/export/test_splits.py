from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispose_stages.export.selection import groups_of
from dispose_stages.export.settings import ExportSettings, Layout
from dispose_stages.export.splits import shared_groups, split_by_group

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


def crossed(images, videos):
    return [(f"i{i}", f"v{v}") for i, v in itertools.product(range(images), range(videos))]


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=300),
    st.sampled_from([SHARES, {"train": 0.5, "test": 0.5}, {"train": 1.0}]),
    st.randoms(use_true_random=False),
)
def test_no_group_is_in_two_splits_of_any_bipartite_manifest(edges, shares, rng):
    """Neither an identity nor a driver; and the order of the rows does not matter."""
    pairs = [(f"i{i}", f"v{v}") for i, v in edges]
    splits = split_by_group(pairs, shares)
    assert shared_groups(pairs, splits) == [0, 0]
    assert {split for split in splits if split} <= set(shares)
    assert any(splits)
    order = list(range(len(pairs)))
    rng.shuffle(order)
    again = split_by_group([pairs[index] for index in order], shares)
    assert again == [splits[index] for index in order]


def test_shared_groups_are_counted_per_kind():
    """Two identities and one driver lie in both splits; dropped pairs do not count."""
    pairs = [("a", "x"), ("a", "y"), ("b", "y"), ("b", "z"), ("c", "w"), ("c", "w")]
    assert shared_groups(pairs, ["1", "2", "1", "2", "1", None]) == [2, 1]


def test_a_full_cross_product_keeps_the_most_that_its_shares_allow():
    """Kept are 1 / (sum of square roots)² of the pairs, at the wanted shares."""
    pairs = crossed(100, 100)
    splits = Counter(split_by_group(pairs, SHARES))
    kept = len(pairs) - splits.pop(None)
    best = 1 / sum(share**0.5 for share in SHARES.values()) ** 2
    assert kept / len(pairs) == pytest.approx(best, rel=0.05)
    for split, share in SHARES.items():
        assert splits[split] / kept == pytest.approx(share, abs=0.02)


def test_pairs_that_share_nothing_are_all_kept():
    """Every pair has its own identity and driver: the shares come out, nothing is dropped."""
    pairs = [(f"i{n}", f"v{n}") for n in range(200)]
    assert Counter(split_by_group(pairs, SHARES)) == {"train": 160, "validation": 20, "test": 20}


def test_parts_go_to_splits_as_a_whole():
    """Ten unconnected cross products of equal size; one that would fit nowhere is cut."""
    parts = [[(f"{p}i{i}", f"{p}v{v}") for i, v in crossed(4, 5)] for p in range(10)]
    pairs = [pair for part in parts for pair in part]
    assert Counter(split_by_group(pairs, SHARES)) == {"train": 160, "validation": 20, "test": 20}
    large = [(f"Li{i}", f"Lv{v}") for i, v in crossed(60, 60)]
    splits = split_by_group(large + pairs, SHARES)
    assert None in splits[: len(large)]
    assert None not in splits[len(large) :]
    kept = Counter(split for split in splits if split)
    assert set(kept) == set(SHARES)


def test_too_few_groups_to_cut_stay_together():
    """One identity with many drivers can be in one split only; dropping the rest helps nobody."""
    pairs = [("i0", f"v{v}") for v in range(50)]
    assert Counter(split_by_group(pairs, SHARES)) == {"train": 50}


def test_any_number_of_kinds_of_groups():
    """One kind is never dropped; with three, all of them are kept apart."""
    rng = random.Random(1)  # noqa: S311 - made-up groups
    one = [(f"p{rng.randrange(40)}",) for _ in range(400)]
    splits = split_by_group(one, SHARES)
    assert None not in splits
    assert shared_groups(one, splits) == [0]
    three = [tuple(f"{kind}{rng.randrange(20)}" for kind in "abc") for _ in range(4000)]
    splits = split_by_group(three, {"train": 0.5, "test": 0.5})
    assert shared_groups(three, splits) == [0, 0, 0]
    assert {"train", "test"} <= set(splits)


def test_zero_is_a_value_to_group_by():
    """Pairs of seed 0 are one group; an absent value is a pair's own."""
    settings = ExportSettings(Layout.WEBDATASET, groups=("seed",))
    names = [
        groups_of({"pair_id": n, "seed": seed}, settings) for n, seed in enumerate((0, 0, None))
    ]
    assert names == [("0",), ("0",), ("pair 2",)]
