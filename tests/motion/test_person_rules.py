"""Who is animated and who drives may be said for each, and per row."""

from __future__ import annotations

import pytest

from dispose_stages.artifacts import Frame
from dispose_stages.batch.manifest import Manifest, Row
from dispose_stages.batch.plan import build_plan
from dispose_stages.config import Motion, Parameters, load_config
from dispose_stages.motion.alignment import align_pair
from dispose_stages.motion.unit import motion_params
from tests.motion.test_alignment import body, still, video


def planned(config=None, **parameters):
    """Identities of the units of a row."""
    settings = load_config({"motion": {"person": "largest"}, **(config or {})})
    own = settings.parameters.model_copy(update=parameters)
    row = Row(2, "pair", "/a.png", "/v.mp4", own)
    (unit,) = build_plan(settings, Manifest((row,), ())).rows
    return unit.units


def test_rows_that_say_nothing_new_keep_their_units():
    """The configuration's rule, said again for one or both, is the same rule."""
    same = planned()
    assert planned(reference_person="largest") == same
    assert planned(reference_person="largest", driver_person="largest") == same


@pytest.mark.parametrize(
    ("parameters", "changed"),
    [
        ({"reference_person": "index:1"}, {"correspondence", "motion", "sample"}),
        ({"driver_person": "tracked"}, {"motion", "sample"}),
    ],
)
def test_what_a_rule_decides_is_computed_anew(parameters, changed):
    """The features of the reference do not depend on who drives; poses on neither."""
    before, after = planned(), planned(**parameters)
    assert {role for role in before if before[role] != after[role]} == changed


def test_both_rules_hold_for_their_own():
    """The second person of the reference is driven by the first of the driver."""
    reference = body(persons=2)
    turned = (getattr(reference, name)[::-1] for name in Frame.__slots__)
    rules = Parameters(reference_person="index:1", driver_person="index:0")
    aligned = align_pair(still(reference), video(Frame(*turned)), motion_params(rules, Motion()))
    assert aligned.person.tolist() == [1, 0]
    assert aligned.scale[1] == pytest.approx(1)
    assert aligned.residual < 1e-9


def test_a_rule_for_both_is_the_identity_of_before():
    """Whether the configuration says it or the row."""
    by_row = motion_params(
        Parameters(reference_person="tracked", driver_person="tracked"), Motion()
    )
    assert by_row.text() == motion_params(Parameters(), Motion(person="tracked")).text()
    assert "reference_person" not in motion_params(Parameters(), Motion()).text()
