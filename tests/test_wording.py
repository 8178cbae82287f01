import pytest

from dispose_stages.wording import did_you_mean, duration, one_line, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("bell\a", r"bell\x07"),
        ("\x9b2J", r"\x9b2J"),
        ("a\rb\tc", r"a\rb\tc"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("one\u2028two", r"one\u2028two"),
        ("\udcff.png", r"\udcff.png"),
    ],
)
def test_nothing_that_steers_a_terminal_is_left(text, shown):
    """Controls, direction marks, separators and undecodable bytes are written as escapes."""
    assert printable(text) == shown
    printable(text).encode()


@pytest.mark.parametrize("text", ["Ä é 漢字 ひ", "שלום", "👩‍👧", "a\u00a0b\u3000c", "line\nline"])
def test_text_of_all_scripts_stays(text):
    """Accents, joiners and wide spaces are text; lines stay lines."""
    assert printable(text) == text


def test_a_cell_is_one_line():
    """Line feeds too become escapes."""
    assert one_line("a\nb\x1b") == r"a\nb\x1b"


def test_suggestions_are_near_or_absent():
    """Whole words first, then last parts."""
    known = ["seed", "fps", "a.resolution"]
    assert did_you_mean("sede", known) == "; did you mean `seed`?"
    assert did_you_mean("resolution", known) == "; did you mean `a.resolution`?"
    assert did_you_mean("colour", known) == ""


@pytest.mark.parametrize(
    ("seconds", "exact", "roughly"),
    [
        (0.0, "0.00 s", "0 s"),
        (9.994, "9.99 s", "10 s"),
        (59.94, "59.9 s", "60 s"),
        (59.96, "1 min 00 s", "60 s"),
        (245, "4 min 05 s", "4 min"),
        (3599.7, "1 h 00 min", "1 h 00 min"),
        (7620, "2 h 07 min", "2 h 07 min"),
        (200_000, "2 d 7 h", "2 d 7 h"),
        (None, "\N{EN DASH}", "\N{EN DASH}"),
    ],
)
def test_durations(seconds, exact, roughly):
    """Seconds in words, also around the full minute and hour."""
    assert duration(seconds, exact=True) == exact
    assert duration(seconds) == roughly
