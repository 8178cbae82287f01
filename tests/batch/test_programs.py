import pytest

from dispose_stages.batch.programs import ProgramError, answer


def script(folder, text):
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return [str(path)]


def test_what_a_program_prints(tmp_path):
    """Whatever bytes it is; its input is empty, so that one that reads ends."""
    assert answer(script(tmp_path, r"cat; printf 'a\377b'")) == "a\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("exec sleep 60", "no answer within 0.2 s"),
        ("echo one >&2; echo two >&2; exit 3", "program: two"),
        ("exit 3", "ended with status 3"),
    ],
)
def test_a_program_that_fails_or_hangs_is_one_error(tmp_path, text, words):
    """It is left after a while; its last word is the message."""
    with pytest.raises(ProgramError, match=words):
        answer(script(tmp_path, text), seconds=0.2 if "sleep" in text else 30)


def test_a_program_that_is_not_there():
    """As one that fails."""
    with pytest.raises(ProgramError, match="there-is-none: No such file"):
        answer(["there-is-none"])
