from __future__ import annotations

import pyarrow as pa
import pytest

from dispose_stages.errors import ExportError
from dispose_stages.export.filtering import MAX_LENGTH, selected

TABLE = pa.table(
    {
        "frames": pa.array([10, 48, None, 90]),
        "fps": [15.0, 15.0, 30.0, 30.0],
        "caption": ["a dance", None, "dance, dance", "wave"],
        "age": ["7", "30", None, "41"],
        "source url": ["x", "y", "x", None],
        "score_pck_010": pa.array([0.9, 0.5, 0.95, None]),
        "parameter_seed": [1, 2, 3, 4],
        "parameter_motion_guidance": [True, False, True, False],
        "empty": pa.array([None] * 4, pa.null()),
        "warnings": pa.array([[], ["a", "b"], None, ["ab"]], pa.list_(pa.string())),
    }
)


@pytest.mark.parametrize(
    ("expression", "lines"),
    [
        ("frames >= 48", [1, 3]),
        ("pck_010 > 0.8 and frames >= 10", [0]),
        ("pck_010 > 0.8 or frames >= 48", [0, 1, 2, 3]),
        ("not pck_010 > 0.8", [1]),
        ("score_pck_010 != 0.9", [1, 2]),
        ("10 < frames <= 90", [1, 3]),
        ("48 <= frames", [1, 3]),
        ("seed in (1, 4)", [0, 3]),
        ("seed not in [1, 4]", [1, 2]),
        ("frames in (10, 48)", [0, 1]),
        ("frames not in (10, 48)", [3]),
        ("'dance' in caption", [0, 2]),
        ("'dance' not in caption", [3]),
        ("caption == 'wave'", [3]),
        ("caption is None", [1]),
        ("caption is not None and frames > 0", [0, 3]),
        ("age > 20", [1, 3]),
        ("age in (7, 41)", [0, 3]),
        ("age == '7'", [0]),
        ("motion_guidance", [0, 2]),
        ("not motion_guidance", [1, 3]),
        ("motion_guidance == False", [1, 3]),
        ("column('source url') == 'x'", [0, 2]),
        ("frames > -1", [0, 1, 3]),
        ("(frames > 5) and (fps == 30)", [3]),
        ("empty is None", [0, 1, 2, 3]),
        ("frames == seed or fps == 15", [0, 1]),
        ("'a' in warnings", [1]),
        ("'ab' in warnings and frames > 0", [3]),
        ("'a' not in warnings", [0, 3]),
    ],
)
def test_records_that_fit(expression, lines):
    """Absent values fit no comparison, and no negation of one."""
    assert [n for n, fits in enumerate(selected(expression, TABLE)) if fits] == lines


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("pck_01 > 0.5", "no column 'pck_01'; did you mean `pck_010`"),
        ("frame > 5", "did you mean `frames`"),
        ("zzzzzz > 5", "there are: frames, fps"),
        ("caption > 5", "caption holds texts that are no numbers"),
        ("frames == 'x'", "cannot be compared with"),
        ("motion_guidance == 1", "cannot be compared with"),
        ("frames", "neither true nor false"),
        ("1 < 2", "compared with no column"),
        ("frames is 3", "'is' takes"),
        ("frames == None", "by 'is'"),
        ("warnings == 'a'", "warnings (list) cannot be compared"),
        ("warnings in ('a', 'b')", "warnings (list) cannot be compared"),
        ("warnings > 3", "cannot be compared with"),
        ("warnings", "neither true nor false"),
        ("frames in 5", "'in' takes"),
        ("frames in ()", "'in' takes"),
        ("frames >", "cannot be read"),
        ("frames > 99999999999999999999", "cannot be read"),
        ("frames in (99999999999999999999, 1)", "cannot be read"),
        ("frames > 5; import os", "cannot be read"),
        ("", "cannot be read"),
        ("a" * (MAX_LENGTH + 1), "longer than"),
        ("(" * 500 + "frames" + ")" * 500, "cannot be read"),
        ("not " * 2400 + "motion_guidance", "cannot be read"),
    ],
)
def test_a_filter_that_cannot_be_used_is_one_error(expression, said):
    """It says what is wrong, and for a misspelt column what was probably meant."""
    with pytest.raises(ExportError, match="filter") as caught:
        selected(expression, TABLE)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('touch /tmp/x')",
        "frames.__class__ == 1",
        "@frames > 1",
        "(lambda: 1)() == frames",
        "[x for x in caption] == frames",
        "frames > (y := 5)",
        "column(caption) == 'x'",
        "column('caption', 'x') == 'x'",
        "f'{frames}' == caption",
        "frames if frames else fps",
        "frames[0] == 1",
        "open('/etc/passwd') == caption",
        "2 ** 999999999 > frames",
        "-'x' == caption",
        "1j > frames",
        "b'x' == caption",
    ],
)
def test_nothing_of_a_filter_is_run(expression):
    """Calls, attributes, subscripts, arithmetic and everything else of Python is refused."""
    with pytest.raises(ExportError):
        selected(expression, TABLE)
