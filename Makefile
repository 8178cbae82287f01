# `make demo` and `make test` set up what they need on a bare Linux machine with Python 3.11+.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# onnxruntime and onnxruntime-gpu exclude one another; an NVIDIA driver decides.
EXTRA ?= $(shell command -v nvidia-smi >/dev/null 2>&1 && echo gpu || echo cpu)
RUNTIME := $(VENV)/.installed-$(EXTRA)
DEV := $(VENV)/.installed-dev-$(EXTRA)
JOBS ?= 2
PYTEST := $(BIN)/python -m pytest

export OMP_NUM_THREADS ?= 2
export TOKENIZERS_PARALLELISM ?= false

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-demo test-slurm parity lint format config bench bench-smallest bench-pose bench-plan bench-scale bench-traffic bench-gpu clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: $(PYTHON) is older than 3.11; try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# torch first: what depends on it must not choose another build of it.
$(RUNTIME): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$(EXTRA)]'
	@touch $@

$(DEV): $(RUNTIME)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$(EXTRA),dev]'
	@touch $@

demo: $(RUNTIME)  ## animate the pairs of manifests/demo.csv; prints where videos and report lie
	$(BIN)/dispose run

test: $(DEV)  ## all tests that need neither GPU nor SLURM
	OMP_NUM_THREADS=1 $(PYTEST) -n $(JOBS) -m "not slow and not gpu and not slurm and not bench"

test-slow: $(DEV)  ## tests that need many gigabytes or minutes
	$(PYTEST) -m "slow and not gpu and not slurm"

test-demo: $(DEV)  ## `dispose benchmark demo` from nothing to its documented table: five minutes
	$(PYTEST) -m slow tests/benchmark/test_demo.py

test-slurm: $(DEV)  ## a real SLURM on this machine (root; installs it where missing)
	tests/slurm/run

parity: $(DEV)  ## replay recordings of the original: make parity GOLDEN=DIR
	$(BIN)/python -m tests.parity.replay $(or $(GOLDEN),tests/parity/golden)

lint: $(DEV)  ## format, lint, types, import contracts, workflow lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/dispose config --check
	$(BIN)/snakemake --lint --profile profiles/local

format: $(DEV)  ## rewrite sources in the house style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/snakefmt Snakefile workflow

config: $(DEV)  ## regenerate config/config.yaml and its schema
	$(BIN)/dispose config

bench: bench-traffic  ## print measurements
	$(PYTEST) tests/bench -m bench -q -s

bench-smallest: $(DEV)  ## every benchmark once at its smallest size; figures mean nothing
	BENCH_SMALLEST=1 $(PYTEST) tests/bench -m bench -q --benchmark-disable

bench-pose: $(DEV)  ## ms per frame of decoding, detection, drawing
	$(PYTEST) tests/bench/bench_pose.py -m bench -q -s

bench-plan: $(DEV)  ## planning and start-up at 1,000 and 10,000 pairs
	$(PYTEST) tests/bench/bench_plan.py -m bench -q -s

bench-scale: $(DEV)  ## a finished run of 10,000 and 100,000 pairs: time, opens, inodes
	$(PYTEST) tests/bench/bench_scale.py -m bench -q -s

bench-traffic: $(DEV)  ## count FLOPs, bytes and kernels of a sampling step; needs no GPU
	$(BIN)/python -m tests.bench.traffic --kernels 12

bench-gpu: $(DEV)  ## ms per sampling step on this machine's GPU, beside plain diffusers blocks
	$(BIN)/python -m tests.bench.gpu

clean:  ## remove results, artifacts and logs of the demo (not the virtual environment)
	rm -rf results/demo store .snakemake
