from __future__ import annotations

import math

import numpy as np
import pytest

from dispose_stages.artifacts import Scores
from dispose_stages.batch.index import write_index
from dispose_stages.batch.outcomes import RunOutcomes
from dispose_stages.batch.scores import write_scores
from dispose_stages.batch.stage import ArtifactRepository
from dispose_stages.batch.unit import Result
from dispose_stages.benchmark.records import read_scores
from dispose_stages.benchmark.sets import set_values
from dispose_stages.errors import Reason, StoreError, UnitError
from tests.toy_run import CountingStage, plan_run


class Scorer(CountingStage):
    """Scores made of the unit's parameters; one pair fails."""

    def repository(self, context):
        return Facts(context)

    def compute(self, *, unit):
        self.before(unit)
        if unit.params["group"] == "fid":
            rng = np.random.default_rng(len(unit.label))
            features = rng.standard_normal((30, 2)).astype(np.float32)
            return Scores("{}", ("fid_features",), (30.0,), ("",), (), np.zeros((0, 0)), features)
        frames = np.array([[1.0, math.nan, 3.0]])
        return Scores("{}", ("psnr", "ssim"), (2.0, math.nan), ("", "one"), ("psnr",), frames)


class Facts(ArtifactRepository):
    def _done(self, unit, digest):
        facts = {"values": {"psnr": 2.0}, "missing": {"ssim": "one"}, "protocol": "p"}
        return Result(key=unit.key, digest=digest, facts=facts)


class Videos(CountingStage):
    """Delivers files, which are no artifacts of the store."""

    def repository(self, context):
        return self

    def find(self, unit):
        return None

    def commit(self, unit, artifact):
        return Result(key=unit.key, digest="v", facts={"file": f"{unit.id}.mp4"})


def one_fails(unit):
    if unit.label.startswith("i1_v1"):
        raise UnitError(Reason.MEDIA_UNREADABLE, "the truth ends early")


@pytest.fixture
def run(tmp_path):
    weights = tmp_path / "inception.pth"
    weights.write_text("x")
    score = {"metrics": ["frames", "fid"], "fid_weights": str(weights)}
    run = plan_run(tmp_path, score=score)
    run.stages["mux"] = Videos("mux")
    run.stages["score"] = Scorer("score", one_fails)
    run.perform_all()
    outcomes = RunOutcomes.read(run.layout.root)
    write_index(outcomes)
    write_scores(outcomes)
    return run


def test_scores_in_long_form(run):
    """Clips first, then frames that have a value; a failed group under every metric it has."""
    import pandas as pd

    stored = pd.read_parquet(run.layout.scores)
    frames = stored[stored["frame"].notna() & (stored["group"] == "frames")]
    assert sorted(frames["frame"].unique()) == [0, 2]
    scores = read_scores([run.layout.root])
    own = scores[scores["group"] == "frames"]
    assert set(own["metric"]) == {"psnr", "ssim"}
    failed = own[own["pair_id"] == "i1_v1"]
    assert failed["reason"].tolist() == ["media_unreadable"] * 2
    assert failed["value"].isna().all()
    assert own[own["metric"] == "ssim"]["reason"].tolist().count("one") == 3
    assert set(scores["variant"]) == {"full"}
    assert set(scores["driver"]) == {"v0.mp4", "v1.mp4"}


def test_a_table_of_sets(run):
    """Features of results against those of their truths, each truth once; N and a warning."""
    (value,) = set_values([run.layout.root], ["variant"])
    assert (value.metric, value.group) == ("fid", "full")
    assert (value.clips, value.of) == (3, 4)
    assert value.count == 90
    assert math.isfinite(value.value)
    assert value.warning == ""
    by_driver = list(set_values([run.layout.root], ["driver"]))
    assert [v.group for v in by_driver] == ["v0.mp4", "v1.mp4"]


def test_index_has_score_columns(run):
    """Named as the metrics are."""
    import pandas as pd

    index = pd.read_parquet(run.layout.index)
    values = index.set_index("pair_id")["score_psnr"]
    assert values.dropna().to_dict() == {"i0_v0": 2.0, "i0_v1": 2.0, "i1_v0": 2.0}
    assert index["score_psnr"].isna().sum() == 1


def test_a_run_without_scores_is_named(tmp_path):
    """Not planned with any, or not reported yet."""
    run = plan_run(tmp_path)
    run.perform_all()
    with pytest.raises(StoreError, match="dispose report"):
        read_scores([run.layout.root])
    outcomes = RunOutcomes.read(run.layout.root)
    write_index(outcomes)
    write_scores(outcomes)
    with pytest.raises(StoreError, match=r"score\.metrics"):
        read_scores([run.layout.root])
