"""Decoding of media in a process of its own, so that a hostile file takes nothing else down.

`pool` and `channel` are the job's side; `process` is the program that runs on the other one, and
imports no more than NumPy and the decoders.
"""
