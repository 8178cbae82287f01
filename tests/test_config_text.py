import os

import pytest

from dispose_stages.config import load_config
from dispose_stages.config_text import parse_settings, read_config_file, read_config_files
from dispose_stages.errors import ConfigError


def loaded(*settings):
    return load_config(parse_settings(settings))


@pytest.mark.parametrize(
    "name", ["007", "1.50", "2024-01-01", "12_34", "no", "true", "1e3", "0x10", "12.30.59"]
)
def test_a_name_is_a_name_whatever_yaml_makes_of_it(tmp_path, name):
    """In a setting and in a file, quoted or not, the run is called what stands there."""
    (tmp_path / "c.yaml").write_text(f"run: {name}\nmotion:\n  person: first\n")
    (tmp_path / "q.yaml").write_text(f'run: "{name}"\n')
    assert loaded(f"run={name}").run == name
    assert load_config(read_config_file(tmp_path / "c.yaml")).run == name
    assert load_config(read_config_file(tmp_path / "q.yaml")).run == name


@pytest.mark.parametrize(
    "path", ["m {y}.csv", "{a}.csv", "[x].csv", "a: b.csv", "a #1.csv", "it's.csv", '"q".csv', "%d"]
)
def test_any_path_can_be_set(path):
    """Braces, brackets, colons, hashes and quotes stand for themselves."""
    assert loaded(f"manifest={path}").manifest == path


@pytest.mark.parametrize("value", ["true", "1_000", "0x10", "٣", "7.5", "1e3", "seven", ""])
@pytest.mark.parametrize("key", ["parameters.seed", "compute.threads", "encoding.crf"])
def test_only_plain_digits_are_a_whole_number(tmp_path, key, value):
    """Truth values, underscores and other bases are refused with the key's name, also in a file."""
    with pytest.raises(ConfigError, match=key):
        loaded(f"{key}={value}")
    section, name = key.split(".")
    (tmp_path / "c.yaml").write_text(f"{section}: {{{name}: {value or '~'}}}\n")
    with pytest.raises(ConfigError, match=key):
        load_config(read_config_file(tmp_path / "c.yaml"))


@pytest.mark.parametrize("value", [True, False, "1_0.5", "2,5"])
def test_only_plain_numbers_are_a_number(value):
    """A comma is named as such."""
    with pytest.raises(ConfigError, match=r"parameters\.fps"):
        load_config({"parameters": {"fps": value}})


def test_numbers_and_truth_values_are_still_read():
    """As YAML, as text and as what Snakemake made of it."""
    config = loaded("parameters={seed: 7, fps: 8.5, motion_guidance: no}", "encoding.crf=20")
    assert (config.parameters.seed, config.parameters.fps, config.encoding.crf) == (7, 8.5, 20)
    assert config.parameters.motion_guidance is False
    assert loaded("parameters.max_frames=null").parameters.max_frames is None
    assert load_config({"parameters": {"seed": 7, "max_frames": "3"}}).parameters.max_frames == 3


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("run: a\nrun: b\n", "'run' stands there twice"),
        ("parameters:\n  seed: 1\n  fps: 3\n  seed: 1\n", "'seed' stands there twice"),
        ("parameters: {seed: 1, seed: 2}\n", "'seed' stands there twice"),
        ("run: [a\n", "cannot be read"),
        ("- run\n", "expected keys and values"),
    ],
)
def test_files_that_say_two_things_are_refused(tmp_path, text, named):
    """A key that stands there twice is named with its line."""
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=named) as caught:
        read_config_file(path)
    assert "c.yaml" in str(caught.value)


def test_yaml_tags_make_nothing_but_text(tmp_path):
    """No object is built from a file."""
    path = tmp_path / "c.yaml"
    path.write_text("run: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(ConfigError, match="run"):
        load_config(read_config_file(path))


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("parameters.sede=1", "parameters.seed"),
        ("seed=1", "parameters.seed"),
        ("parameter.fps=1", "parameters"),
        ("encoding.crv=1", "encoding.crf"),
        ("guidance_max=3", "parameters.guidance_max"),
        ("manifst=x", "manifest"),
        ("sampling.tile_size=8", "parameters.tile_size"),
    ],
)
def test_a_typo_gets_a_suggestion(typo, meant):
    """The nearest key is named with its section."""
    with pytest.raises(ConfigError, match=f"did you mean `{meant}`"):
        loaded(typo)


def test_a_key_like_no_other_gets_none():
    """No far-fetched guesses."""
    with pytest.raises(ConfigError) as caught:
        loaded("xylophone=1")
    assert "there is no such key" in str(caught.value)
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("stage", "seconds", "named"),
    [
        ("sampel", 3, "did you mean `sample`"),
        ("sample", -1, "greater than 0"),
        ("mux", 0, "greater than 0"),
        ("pose", True, "a number is wanted"),
        ("ingest", "inf", "finite"),
        ("report", 1, "there is no stage 'report'"),
    ],
)
def test_seconds_per_unit_are_positive_numbers_of_stages(stage, seconds, named):
    """Unknown stages and impossible times are refused."""
    with pytest.raises(ConfigError, match=named):
        load_config({"shards": {"seconds_per_unit": {stage: seconds}}})


def test_files_and_settings_are_laid_over_one_another(tmp_path):
    """Key by key, later ones win, settings last."""
    (tmp_path / "a.yaml").write_text("run: a\nparameters: {seed: 1, fps: 3}\n")
    (tmp_path / "b.yaml").write_text("parameters: {seed: 2}\nmodels: tiny\n")
    values = read_config_files([tmp_path / "a.yaml", tmp_path / "b.yaml"], ["parameters.fps=4"])
    assert values == {"run": "a", "parameters": {"seed": "2", "fps": "4"}, "models": "tiny"}


def pipe(path):
    """Nobody writes into it."""
    os.mkfifo(path)


def bomb(path):
    """Nested without end."""
    path.write_text("[" * 100_000)


def large(path):
    """No configuration is that long."""
    path.touch()
    os.truncate(path, 1 << 30)


def loop(path):
    """A link to itself."""
    path.symlink_to(path)


@pytest.mark.parametrize("make", [pipe, bomb, large, loop, os.mkdir])
def test_what_is_no_configuration_is_refused_at_once(tmp_path, make):
    """No hang, no exhausted memory, one error that names the file."""
    path = tmp_path / "c.yaml"
    make(path)
    with pytest.raises(ConfigError, match=r"c\.yaml"):
        read_config_file(path)
