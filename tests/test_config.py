import subprocess
import sys

import pytest
import yaml
from jsonschema import Draft202012Validator

from dispose_stages.cli.config_files import (
    config_readme,
    config_yaml,
    outdated_files,
    write_files,
)
from dispose_stages.config import (
    Config,
    Parameters,
    json_schema,
    load_config,
)
from dispose_stages.config_models import BUNDLE_DEFAULTS
from dispose_stages.config_sampling import EFFORTS
from dispose_stages.errors import ConfigError

VALIDATOR = Draft202012Validator(json_schema())


def test_the_defaults_are_those_of_the_original():
    """Algorithm, section 10."""
    defaults = Parameters().model_dump()
    assert defaults["resolution"] == 576
    assert (defaults["tile_size"], defaults["tile_overlap"]) == (16, 6)
    assert defaults["num_inference_steps"] == 25
    assert (defaults["guidance_min"], defaults["guidance_max"]) == (2.0, 2.0)
    assert (defaults["sample_stride"], defaults["decode_chunk_size"]) == (2, 8)
    assert (defaults["fps"], defaults["seed"], defaults["noise_aug_strength"]) == (15.0, 42, 0.0)
    assert defaults["compat"] == "official"


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"unknown": 1}, "unknown"),
        ({"parameters": {"sede": 1}}, "parameters.sede"),
        ({"parameters": {"resolution": 100}}, "parameters.resolution"),
        ({"parameters": {"tile_size": 4, "tile_overlap": 4}}, "tile_overlap must be less"),
        ({"parameters": {"fps": float("nan")}}, "parameters.fps"),
        ({"parameters": {"seed": 2**63}}, "parameters.seed"),
        ({"run": "../escape"}, "run"),
        ({"run": ""}, "run"),
        ({"models": "large"}, "models.bundle"),
        ({"sampling": {"precision": "fp8"}}, "sampling.precision"),
        ({"motion": {"person": "second"}}, "motion.person"),
        ({"compute": {"gpus_per_job": 0}}, "compute.gpus_per_job"),
        ({"limits": {"confirm_gpu_hours": -1}}, "limits.confirm_gpu_hours"),
        ({"shards": {"measured": "perhaps"}}, "shards.measured"),
        ({"pilot": {"first": 0}}, "pilot.first"),
    ],
)
def test_wrong_values_name_their_key(values, where):
    """The message says which key of the file is wrong."""
    with pytest.raises(ConfigError) as caught:
        load_config(values)
    assert where in str(caught.value)


def test_all_wrong_keys_are_named_at_once():
    """One look is enough to mend a file."""
    with pytest.raises(ConfigError) as caught:
        load_config({"run": "/", "parameters": {"seed": -1}, "encoding": {"crf": 99}})
    for key in ("run", "parameters.seed", "encoding.crf"):
        assert key in str(caught.value)


@pytest.mark.parametrize("bundle", ["tiny", "small", "official"])
def test_short_form_of_models(bundle):
    """A bundle's name stands for its folder, in the program and in the schema."""
    root = "bundles/small" if bundle == "small" else f"models/{bundle}"
    assert load_config({"models": bundle}).models.root == root
    assert VALIDATOR.is_valid({"models": bundle})
    assert VALIDATOR.is_valid({"models": {"bundle": bundle, "root": "/data"}})
    assert not VALIDATOR.is_valid({"models": "large"})


def test_a_configuration_is_constant():
    """Nothing changes it after it was checked."""
    with pytest.raises(ValueError, match="frozen"):
        Config().run = "other"  # type: ignore[misc]


def test_a_dumped_configuration_reads_back_equal():
    """Jobs get the same configuration as the planner."""
    config = load_config({"parameters": {"max_frames": 3}, "models": "official"})
    assert load_config(config.model_dump(mode="json")) == config


def test_the_generated_file_says_what_the_program_says():
    """Every key that does not depend on the bundle is there with its default."""
    values = yaml.safe_load(config_yaml())
    assert load_config(values) == load_config({})
    assert VALIDATOR.is_valid(values)
    full = load_config({}).model_dump(mode="json")
    parts = [*BUNDLE_DEFAULTS.values(), *({"sampling": own} for own in EFFORTS.values())]
    own = {(s, k) for part in parts for s, p in part.items() for k in p}
    for section, keys in full.items():
        if isinstance(keys, dict):
            assert {(section, k) for k in keys} - {(section, k) for k in values[section]} <= own


def test_naming_the_published_models_gives_their_defaults():
    """What the demo's bundle needs never reaches a run of the published models."""
    values = yaml.safe_load(config_yaml())
    config = load_config({**values, "models": {"bundle": "official", "root": "/data"}})
    assert config.parameters == Parameters()
    assert config.sampling.precision == "fp16"


def test_the_user_is_above_the_bundle():
    """A value that is given beats the bundle's own default, the others stay."""
    config = load_config({"models": "tiny", "parameters": {"resolution": 192}})
    assert config.parameters.resolution == 192
    assert config.parameters.tile_size == BUNDLE_DEFAULTS["tiny"]["parameters"]["tile_size"]


def test_every_key_is_explained():
    """The schema describes every key, and the README has a row for each."""
    schema, readme = json_schema(), config_readme()

    def keys(properties, prefix=""):
        for name, part in properties.items():
            reference = part.get("$ref", "").rsplit("/", 1)[-1]
            options = [p["$ref"].rsplit("/", 1)[-1] for p in part.get("anyOf", ()) if "$ref" in p]
            section = reference or next(iter(options), "")
            if section:
                assert schema["$defs"][section]["description"]
                yield from keys(schema["$defs"][section]["properties"], f"{prefix}{name}.")
            else:
                assert part["description"], name
                yield prefix + name

    names = list(keys(schema["properties"]))
    assert len(names) > 50
    for name in names:
        assert f"| `{name}` |" in readme


def test_files_in_the_repository_are_up_to_date(pytestconfig):
    """`dispose config` writes config/ anew after a change of dispose_stages/config.py."""
    outdated = [str(path) for path in outdated_files(pytestconfig.rootpath / "config")]
    assert outdated == [], "run `dispose config` and commit the result"


def test_outdated_files_are_noticed_and_mended(tmp_path):
    """Absent and changed files are outdated; writing them once is enough."""
    assert len(outdated_files(tmp_path)) == 3
    assert len(write_files(tmp_path)) == 3
    (tmp_path / "config.yaml").write_text("run: other\n")
    assert outdated_files(tmp_path) == [tmp_path / "config.yaml"]
    assert write_files(tmp_path) == [tmp_path / "config.yaml"]
    assert write_files(tmp_path) == []


@pytest.mark.parametrize("module", ["config", "batch.prepare", "batch.status"])
def test_planning_imports_no_heavy_library(module):
    """The Snakefile is parsed again in every job of a cluster."""
    heavy = ("torch", "zarr", "diffusers", "transformers", "onnxruntime", "pandas", "decord", "cv2")
    code = f"import sys, dispose_stages.{module}; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
