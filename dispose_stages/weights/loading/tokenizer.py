"""CLIP's tokenizer from its two files, without a second of imports for the library around it."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.processors import RobertaProcessing

from dispose_stages.errors import WeightsError
from dispose_stages.weights.files import read_json

_START, _END = "<|startoftext|>", "<|endoftext|>"
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"


def clip_tokenizer(folder: Path, length: int) -> Tokenizer:
    """Byte pairs of lower-case words between marks, to exactly `length` tokens.

    Args:
        folder: Holds ``vocab.json`` and ``merges.txt``.
        length: Longer prompts are cut, shorter ones end with more marks.

    Raises:
        WeightsError: A file is missing or damaged.
    """
    vocabulary = dict(read_json(folder / "vocab.json"))
    try:
        lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
        pairs = [tuple(line.split()) for line in lines if line and not line.startswith("#version")]
        model = BPE(vocabulary, pairs, unk_token=_END, end_of_word_suffix="</w>")  # type: ignore[arg-type]
        start, end = vocabulary[_START], vocabulary[_END]
    except Exception as error:  # the library raises no narrower one
        raise WeightsError(f"{folder}: no tokenizer: {error}") from error
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.post_processor = RobertaProcessing(
        (_END, end), (_START, start), trim_offsets=False, add_prefix_space=False
    )
    tokenizer.add_special_tokens([_START, _END])
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length, pad_id=end, pad_token=_END)
    return tokenizer
