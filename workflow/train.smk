# Training of the small bundle (docs/quality.md):
#
#   snakemake --snakefile workflow/train.smk --cores 2
#   snakemake --snakefile workflow/train.smk --cores 8 --config device=cuda
#
# The bundle of the repository was trained with the first of these: two processes of one thread.
# Every step may be interrupted; it goes on from the state it saved last. A state that belongs to
# other settings is to be removed by hand (<folder>/state/<step>).
from snakemake.utils import min_version

min_version("9.0")

import sys
from pathlib import Path

# The checkout itself, where the package is not installed.
sys.path.insert(0, str(Path(str(workflow.basedir)).parent))

from dispose_stages.batch.rules import link_folder, without_braces
from dispose_stages.config_text import read_config_file

SETTINGS = config.get("settings", "config/train.yaml")
CHOSEN = read_config_file(Path(SETTINGS))
DEVICE = str(config.get("device", CHOSEN["device"]))
OUTPUT = str(config.get("folder", CHOSEN["folder"]))
OPTIONS = ["--settings", SETTINGS, "--folder", OUTPUT, "--device", DEVICE]
# As Snakemake is to see them.
FOLDER, BUNDLE = without_braces(OUTPUT), without_braces(CHOSEN["bundle"])
link_folder(OUTPUT)
link_folder(CHOSEN["bundle"])
# Processes that train together, each with batches of its own; on GPUs, one for each.
PROCESSES = int(config.get("processes", 1 if DEVICE == "cuda" else 2))
TORCHRUN = f"torchrun --standalone --nproc-per-node {PROCESSES} --no-python"
TOGETHER = f"OMP_NUM_THREADS=1 {TORCHRUN}" if PROCESSES > 1 else ""
# A GPU is trained on by one step at a time.
GPUS = 1 if DEVICE == "cuda" else 0
WEIGHTS = ("vae", "embeddings", "decoder", "base", "cmp", "features", "control")


rule all:
    default_target: True
    input:
        f"{FOLDER}/quality.md",
    localrule: True


rule data:
    output:
        touch(f"{FOLDER}/data.done"),
    log:
        f"{FOLDER}/logs/data.log",
    shell:
        "dispose train step data {OPTIONS:q} > {log:q} 2>&1"


rule vae:
    input:
        f"{FOLDER}/data.done",
    output:
        f"{FOLDER}/vae.pt",
    log:
        f"{FOLDER}/logs/vae.log",
    threads: PROCESSES
    resources:
        gpu=GPUS,
    shell:
        "{TOGETHER} dispose train step vae {OPTIONS:q} --threads 1 > {log:q} 2>&1"


rule encode:
    input:
        f"{FOLDER}/vae.pt",
    output:
        f"{FOLDER}/embeddings.pt",
        f"{FOLDER}/image_encoder.pt",
    log:
        f"{FOLDER}/logs/encode.log",
    threads: 2
    resources:
        gpu=GPUS,
    shell:
        "dispose train step encode {OPTIONS:q} --threads {threads} > {log:q} 2>&1"


rule decoder:
    input:
        f"{FOLDER}/vae.pt",
    output:
        f"{FOLDER}/decoder.pt",
    log:
        f"{FOLDER}/logs/decoder.log",
    resources:
        gpu=GPUS,
    shell:
        "dispose train step decoder {OPTIONS:q} --threads 1 > {log:q} 2>&1"


rule base:
    input:
        f"{FOLDER}/embeddings.pt",
    output:
        f"{FOLDER}/base.pt",
    log:
        f"{FOLDER}/logs/base.log",
    threads: PROCESSES
    resources:
        gpu=GPUS,
    shell:
        "{TOGETHER} dispose train step base {OPTIONS:q} --threads 1 > {log:q} 2>&1"


rule cmp:
    output:
        f"{FOLDER}/cmp.pt",
    log:
        f"{FOLDER}/logs/cmp.log",
    resources:
        gpu=GPUS,
    shell:
        "dispose train step cmp {OPTIONS:q} --threads 1 > {log:q} 2>&1"


rule features:
    input:
        f"{FOLDER}/data.done",
    output:
        f"{FOLDER}/features.pt",
    log:
        f"{FOLDER}/logs/features.log",
    resources:
        gpu=GPUS,
    shell:
        "dispose train step features {OPTIONS:q} --threads 1 > {log:q} 2>&1"


rule guidance:
    input:
        f"{FOLDER}/cmp.pt",
        f"{FOLDER}/features.pt",
        f"{FOLDER}/vae.pt",
        f"{FOLDER}/image_encoder.pt",
        f"{FOLDER}/data.done",
    output:
        touch(f"{FOLDER}/guidance.done"),
    log:
        f"{FOLDER}/logs/guidance.log",
    resources:
        gpu=GPUS,
    shell:
        "dispose train step guidance {OPTIONS:q} --threads 1 > {log:q} 2>&1"


rule control:
    input:
        f"{FOLDER}/guidance.done",
        f"{FOLDER}/base.pt",
    output:
        f"{FOLDER}/control.pt",
    log:
        f"{FOLDER}/logs/control.log",
    resources:
        gpu=GPUS,
    shell:
        "dispose train step control {OPTIONS:q} --threads 1 > {log:q} 2>&1"


rule bundle:
    input:
        [f"{FOLDER}/{name}.pt" for name in WEIGHTS],
    output:
        f"{BUNDLE}/bundle.json",
    log:
        f"{FOLDER}/logs/bundle.log",
    shell:
        "dispose train bundle {OPTIONS:q} > {log:q} 2>&1"


rule quality:
    input:
        f"{BUNDLE}/bundle.json",
    output:
        f"{FOLDER}/quality.md",
    log:
        f"{FOLDER}/logs/quality.log",
    resources:
        gpu=GPUS,
    shell:
        "dispose train quality {OPTIONS:q} > {log:q} 2>&1"
