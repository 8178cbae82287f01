from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from dispose_stages.report.columns import Group, NumberColumn, Table
from dispose_stages.report.metrics import better, distributions, in_order


def table_of(values: dict[str, list[float]], group: Group = "score") -> Table:
    """Pairs with these values; nan: none."""
    table = Table()
    for row in range(len(next(iter(values.values())))):
        cells: dict[tuple[Group, str], str | float] = {("pair", "variant"): "full"}
        found = {(group, name): numbers[row] for name, numbers in values.items()}
        table.append(cells | {cell: value for cell, value in found.items() if np.isfinite(value)})
    table.finish()
    return table


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("psnr_disco_uint8", "higher"),
        ("pck_005_hands", "higher"),
        ("lpips_before_codec", "lower"),
        ("akd_head_face", "lower"),
        ("flicker_excess", "near zero"),
        ("flicker", ""),
        ("drift_colour_low", "near zero"),
        ("alignment_scale_x", ""),
        ("alignment_residual", "lower"),
    ],
)
def test_which_way_a_metric_is_better(name: str, way: str) -> None:
    """Also with the ending that tells where it was measured; none for what has no good end."""
    assert better(name) == way


@pytest.mark.parametrize(
    ("name", "worst", "best"),
    [
        ("psnr", [3, 0], [2, 4]),
        ("akd_body", [2, 4], [3, 0]),
        ("drift_colour", [3, 0], [1, 4]),
    ],
)
def test_the_pairs_at_both_ends(name: str, worst: list[int], best: list[int]) -> None:
    """No pair is at both; those without a value or a video are at neither."""
    values = [-5.0, 0.5, 4.0, -6.0, 2.0, float("nan"), 99.0]
    (found,) = distributions(table_of({name: values}), {}, np.arange(6))
    assert (found.worst, found.best) == (worst, best)


def test_histograms_share_their_bins_and_lose_nobody() -> None:
    """Whatever the values, every pair that has one is in a bin."""
    rng = np.random.default_rng(0)
    values = {
        "psnr": [1.0] * 50,
        "ssim": rng.normal(0, 1e-9, 50).tolist(),
        "l1": [float("nan")] * 50,
    }
    found = {
        d.name: d for d in distributions(table_of(values), {"l1": Counter(no=50)}, np.arange(50))
    }
    assert set(found) == {"psnr", "ssim"}
    assert found["psnr"].counts == {"full": [50]}
    assert sum(found["ssim"].counts["full"]) == 50


def test_the_main_ones_come_first() -> None:
    """In the order in which a reader wants them, not in that of the alphabet."""
    values = {name: [1.0, 2.0] for name in ("akd_face", "drift_colour", "psnr")}
    found = list(distributions(table_of(values), {}, np.arange(2)))
    assert [(d.name, d.main) for d in found] == [
        ("psnr", True),
        ("drift_colour", True),
        ("akd_face", False),
    ]


def test_variants_stand_as_in_the_paper() -> None:
    """All others after them."""
    names = ["x", "base", "no_correspondence", "full", "no_motion"]
    assert in_order(names) == ["full", "no_motion", "no_correspondence", "base", "x"]


def test_columns_that_come_late_are_empty_before() -> None:
    """And those that end early are empty after."""
    table = table_of({"psnr": [1.0, float("nan")], "ssim": [float("nan"), 2.0]})
    cells = {column.name: column.data() for column in table.numbers("score")}
    assert cells == {"psnr": [1.0, None], "ssim": [None, 2.0]}


def test_a_name_that_two_groups_have_is_told_apart() -> None:
    """A manifest's column called like a metric, in whatever case, keeps its own cells."""
    table = Table()
    table.append({("score", "psnr"): 30.0, ("manifest", "PSNR"): "good", ("manifest", "a"): "b"})
    table.append({("score", "psnr"): 31.0})
    table.finish()
    names = {column.name: isinstance(column, NumberColumn) for column in table}
    assert names == {"psnr": True, "manifest_PSNR": False, "a": False}
    assert table.text("manifest_psnr").data() == [["good", ""], [0, 1]]


def test_parameters_that_never_differ_are_no_columns() -> None:
    """What can be asked for can be told apart by."""
    table = Table()
    for seed in "12":
        table.append({("parameter", "seed"): seed, ("parameter", "fps"): "15"})
    table.finish()
    assert [column.name for column in table] == ["seed"]
