from __future__ import annotations

import csv
import io
import json
import math

import numpy as np
import pandas as pd
import pytest

from dispose_stages.benchmark.records import check_protocols
from dispose_stages.benchmark.rendering import FORMATS, render
from dispose_stages.benchmark.table import SetValue, tabulate
from dispose_stages.errors import ConfigError
from dispose_stages.missing import MISSING, Missing


def scores(**changes):
    """Forty pairs in two variants: the full method is 2 dB better; two values are missing."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(40):
        base = 20 + 5 * rng.standard_normal()
        for variant, gain in (("full", 2.0), ("base", 0.0)):
            value = base + gain + 0.1 * rng.standard_normal()
            lost = variant == "full" and number in {3, 7}
            rows.append(
                {
                    "run": "r",
                    "pair_id": f"p{number}_{variant}",
                    "variant": variant,
                    "driver": f"d{number % 2}.mp4",
                    "reference": "i.png",
                    "case": f"c{number}",
                    "group": "frames",
                    "metric": "psnr",
                    "value": math.nan if lost else value,
                    "reason": "truth_short" if lost else None,
                    "protocol": "aaaa",
                }
                | changes
            )
    return pd.DataFrame(rows)


def cell(table, group, metric="psnr", cells="cells"):
    (found,) = [c for c in getattr(table, cells) if (c.metric, c.group) == (metric, group)]
    return found.estimate


def test_means_and_what_is_missing():
    """By variant, with the missing by reason; never filled up."""
    data = scores()
    table = tabulate(data, ["variant"])
    full = cell(table, "full")
    wanted = data[data["variant"] == "full"]["value"].mean()
    assert full.mean == pytest.approx(wanted)
    assert full.low < wanted < full.high
    assert (full.count, full.of, full.missing) == (38, 40, {"truth_short": 2})
    assert cell(table, "base").count == 40


def test_paired_differences_are_over_pairs_that_both_have():
    """Far narrower than the means themselves, because pairs differ more than variants."""
    table = tabulate(scores(), ["variant"])
    difference = cell(table, "base", cells="differences")
    assert difference.mean == pytest.approx(-2, abs=0.1)
    assert difference.high - difference.low < 0.2
    assert (difference.count, difference.of) == (38, 40)
    assert cell(table, "full").high - cell(table, "full").low > 2


def test_runs_are_compared_with_the_first_pair_by_pair():
    """Variants of a pair stay apart, and the first run leads whatever its name."""
    first, second = scores(run="z"), scores(run="a")
    second["value"] += np.where(second["variant"] == "full", 1.0, 3.0)
    table = tabulate(pd.concat([first, second], ignore_index=True), ["run"])
    assert table.baseline == "z"
    difference = cell(table, "a", cells="differences")
    assert difference.mean == pytest.approx((38 * 1.0 + 40 * 3.0) / 78)
    assert (difference.count, difference.of) == (78, 80)
    text = render(table, "md")
    assert "| metric | z | a |" in text
    assert "Differences to `z`" in text
    assert not tabulate(scores(), ["driver"]).differences


def test_groups():
    """Several at once, or none."""
    table = tabulate(scores(), ["variant", "driver"])
    assert {c.group for c in table.cells} == {
        f"{v}, d{n}.mp4" for v in ("full", "base") for n in (0, 1)
    }
    assert cell(tabulate(scores(), []), "all").of == 80
    with pytest.raises(ConfigError, match="known are run, variant"):
        tabulate(scores(), ["colour"])


def test_different_protocols_are_not_compared():
    """Named with their pairs; one protocol passes."""
    check_protocols(scores())
    mixed = pd.concat([scores(), scores(run="other", protocol="bbbb")])
    with pytest.raises(ConfigError, match=r"psnr \(aaaa: 80 pairs, bbbb: 80 pairs\)"):
        check_protocols(mixed)
    one, two = tabulate(scores(), []), tabulate(scores(protocol="bbbb"), [])
    assert one.fingerprint != two.fingerprint


SET = SetValue("fvd", "full", 123.4, 40, 40, 38, 40, "few")


def test_every_format_has_the_numbers():
    """And reads back where it is made to be read."""
    table = tabulate(scores(), ["variant"], sets=[SET], paper={"fvd": 466.93}, notes=["a note"])
    texts = {form: render(table, form) for form in FORMATS}
    mean = cell(table, "full").mean
    for text in (texts["md"], texts["tex"]):
        assert f"{mean:.4g}" in text
        assert "38 of 40" in text
        assert "466.9" in text
        assert table.fingerprint in text
    assert "truth_short 2" in texts["md"]
    plain = json.loads(texts["json"])
    assert plain["sets"][0]["value"] == 123.4
    assert plain["fingerprint"] == table.fingerprint
    rows = list(csv.DictReader(io.StringIO(texts["csv"])))
    assert float(rows[1]["mean"]) == mean
    assert {row["kind"] for row in rows} == {"mean", "difference to full", "set", "paper"}


def test_a_metric_without_any_value_is_shown_as_such():
    """No zero, and the reasons beside it."""
    data = scores(value=math.nan, reason="no_truth", protocol=None)
    text = render(tabulate(data, ["variant"]), "md")
    assert "(0 of 40)" in text
    assert "no_truth 40" in text
    said = f"- no_truth: {MISSING[Missing.NO_TRUTH].meaning}"
    assert text.count(said) == 1, "said once, however many metrics lack it"
    assert said not in render(tabulate(scores(), ["variant"]), "md")
