import pytest

from dispose_stages.wording import did_you_mean, one_line, printable


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
