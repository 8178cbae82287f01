"""CLIP's tokenizer beside the library's, on the toy vocabulary of the small bundle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dispose_stages.errors import WeightsError
from dispose_stages.weights.loading.tokenizer import clip_tokenizer

FOLDER = Path(__file__).parents[3] / "bundles/small/stable-diffusion-v1-5/tokenizer"


@pytest.fixture(scope="module")
def library():
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(FOLDER, local_files_only=True)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=120))
@example("photo of a human")
@example("  A human\tdoesn't WALK\n12 times, it's \u00e9t\u00e9 e\u0301!!'s")
@example("<|startoftext|>a<|endoftext|> b<|endoftext|")
@example("a " * 100)
def test_tokens_are_those_of_the_library(library, prompt):
    """Any text, cut and padded."""
    for length in (8, 77):
        theirs = library(prompt, padding="max_length", truncation=True, max_length=length)
        assert clip_tokenizer(FOLDER, length).encode(prompt).ids == theirs.input_ids


@pytest.mark.parametrize("damage", ["no vocabulary", "no merges", "foreign merges", "no marks"])
def test_a_damaged_vocabulary_is_named(tmp_path, damage):
    """In our own words, with the folder."""
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    if damage == "no vocabulary":
        (tmp_path / "vocab.json").unlink()
    elif damage == "no merges":
        (tmp_path / "merges.txt").unlink()
    elif damage == "foreign merges":
        (tmp_path / "merges.txt").write_text("#version: 0.2\nqq ww\n")
    else:
        (tmp_path / "vocab.json").write_text('{"a": 0, "<|endoftext|>": 1}')
        (tmp_path / "merges.txt").write_text("")
    with pytest.raises(WeightsError, match=str(tmp_path)):
        clip_tokenizer(tmp_path, 77)


def test_a_prompt_is_read_without_the_large_library():
    """Its import would take every job of `correspondence` a second."""
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from dispose_stages.weights.loading.dift import tokenize\n"
        f"tokenize(Path({str(FOLDER.parent)!r}), 'photo of a human', 77)\n"
        "assert 'transformers' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
