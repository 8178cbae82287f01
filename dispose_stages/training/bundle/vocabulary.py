"""A toy vocabulary in the format of CLIP's byte-level tokenizer."""

from __future__ import annotations

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
WORDS = ("photo", "of", "a", "human", "person", "man", "woman", "dancing", "walking", "the")
"""Words that become one token; others are spelled byte by byte."""


def byte_characters() -> list[str]:
    """A printable character for each of the 256 bytes, in the order CLIP numbers them.

    Printable Latin-1 bytes stand for themselves and come first; the others take the characters
    from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in set(printable)]
    return [chr(byte) for byte in printable] + [chr(0x100 + n) for n in range(len(rest))]


def merge_rules() -> list[tuple[str, str]]:
    """Pairs that build every word from left to right."""
    rules: list[tuple[str, str]] = []
    for word in WORDS:
        pieces = [*word[:-1], word[-1] + WORD_END]
        left = pieces[0]
        for right in pieces[1:]:
            if (left, right) not in rules:
                rules.append((left, right))
            left += right
    return rules


def build_vocabulary() -> tuple[dict[str, int], str]:
    """Contents of ``vocab.json`` and of ``merges.txt``."""
    rules = merge_rules()
    characters = byte_characters()
    tokens = [*characters, *(char + WORD_END for char in characters)]
    tokens += [left + right for left, right in rules]
    tokens += [START, END]
    merges = "\n".join(["#version: 0.2", *(f"{left} {right}" for left, right in rules)]) + "\n"
    return {token: index for index, token in enumerate(tokens)}, merges


TOKENIZER_CONFIG = {
    "add_prefix_space": False,
    "bos_token": START,
    "do_lower_case": True,
    "eos_token": END,
    "model_max_length": 77,
    "pad_token": END,
    "tokenizer_class": "CLIPTokenizer",
    "unk_token": END,
}
SPECIAL_TOKENS = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
