"""The configuration of a run: pydantic models that are also the schema and the default file.

``config/config.schema.json`` and ``config/config.yaml`` are generated from here
(``dispose config``); a test fails with the fixing command when they disagree. Nothing here
imports torch: the Snakefile parses the configuration in every cluster job.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from dispose_stages.config_encoding import Encoding, Interpolate, Rate
from dispose_stages.config_limits import Limits, Pilot, Store, expand_store
from dispose_stages.config_models import Bundle, Models, expand_bundle
from dispose_stages.config_sampling import STEPS, Sampling, with_defaults
from dispose_stages.config_score import Score
from dispose_stages.config_section import Section, describe_validation_error, plain_number
from dispose_stages.errors import ConfigError
from dispose_stages.wording import did_you_mean

Compat = Literal["official", "corrected"]
Align = Literal["official", "proportions"]
PersonRule = Annotated[str, Field(pattern=r"^(first|largest|tracked|index:\d+)$")]
STAGES = ("ingest", "pose", "motion", "correspondence", "sample", "mux", "score")
"""Stages that compute units, in order of the data flow."""
STORED_STAGES = ("pose", "motion", "correspondence", "sample", "score")
"""Those that keep results in the artifact store; `mux` delivers files, `ingest` facts."""
GPU_STAGES = ("pose", "motion", "correspondence", "sample", "mux", "score")
SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Parameters(Section):
    """What a row of the manifest may override; the values here hold for all other rows."""

    seed: int = Field(default=42, ge=0, lt=2**63)
    """Seed of the sampler's noise."""
    resolution: int = Field(default=576, ge=64, le=4096, multiple_of=64)
    """Short side of the output, pixels; the long side follows from the reference (9:16)."""
    sample_stride: int = Field(default=2, ge=1, le=1000)
    """Every n-th driving frame is used, times `max(1, fps // 24)`."""
    start_frame: int = Field(default=0, ge=0, lt=2**63)
    """First driving frame."""
    max_frames: int | None = Field(default=None, ge=1, lt=2**63)
    """At most this many driving frames; empty: all."""
    tile_size: int = Field(default=16, ge=2, le=1024)
    """Frames that are denoised together."""
    tile_overlap: int = Field(default=6, ge=0)
    """Frames that neighbouring tiles share; less than `tile_size`."""
    num_inference_steps: int = Field(default=STEPS, ge=1, le=1000)
    """Denoising steps; fewer with `sampling.effort`."""
    guidance_min: float = Field(default=2.0, ge=0, le=100)
    """Guidance scale of the first frame."""
    guidance_max: float = Field(default=2.0, ge=0, le=100)
    """Guidance scale of the last frame; linear in between."""
    noise_aug_strength: float = Field(default=0.0, ge=0, le=10)
    """Noise added to the reference before it is encoded."""
    fps: Rate = 15.0
    """Frame rate of the output video; `driver`: as many as are read of the driver in a second, so
    that it keeps its pace. At 15 a driver of 24 fps plays 1.25 times as fast, one of 25 or 50 fps
    1.2 times."""
    interpolate: Interpolate = "none"
    """`minterpolate`: frames are made at the driver's pace (as with `fps: driver`) and ffmpeg's
    filter of that name fits them to `fps`."""
    decode_chunk_size: int = Field(default=8, ge=1, lt=2**63)
    """Frames the VAE decodes together; changes the result (docs/parity.md, Q13)."""
    decode_context: int = Field(default=0, ge=0, le=64)
    """Frames before and after these that the VAE sees with them, against a flicker from one chunk
    to the next in long videos; the original shows it none. Takes time and memory."""
    motion_guidance: bool = True
    """Off: the motion fields do not enter the ControlNet (ablation)."""
    correspondence_guidance: bool = True
    """Off: keypoint correspondence does not enter the ControlNet (ablation). Both off: no
    ControlNet at all, the plain base model."""
    control_scale: float = Field(default=1.0, ge=0, le=100)
    """Factor on everything the ControlNet adds to the UNet; 0 switches it off."""
    motion_bucket_id: int = Field(default=127, ge=0, le=1000)
    """How much motion the networks are told to expect."""
    condition_fps: int = Field(default=7, ge=1, le=240)
    """Frame rate the networks are told; unrelated to `fps`."""
    compat: Compat = "official"
    """`official` reproduces every quirk of the original; `corrected` mends those of
    docs/parity.md that can be mended without new weights."""
    align: Align = "official"
    """How the driver is fitted to the reference's body: `official` moves and scales it as a whole;
    `proportions` keeps its joint angles and gives it the reference's limb lengths, where these
    clearly differ."""
    reference_person: PersonRule | None = None
    """Who of the reference is animated where it shows several; empty: as `motion.person`."""
    driver_person: PersonRule | None = None
    """Who of the driver drives where it shows several; empty: as `motion.person`."""

    @field_validator("fps", mode="before")
    @classmethod
    def _check_rate(cls, value: Any) -> Any:
        if value == "driver":
            return value
        try:
            rate = float(plain_number(value))
        except (TypeError, ValueError):
            rate = math.nan
        if not 0 < rate <= 240:
            raise ValueError(f"{value!r} is neither a number above 0 and up to 240 nor 'driver'")
        return rate

    @field_validator("interpolate")
    @classmethod
    def _check_interpolation(cls, value: str, info: ValidationInfo) -> str:
        if value != "none" and info.data.get("fps") == "driver":
            raise ValueError("needs a number as fps, not the driver's own pace")
        return value

    @model_validator(mode="after")
    def _check_tiles(self) -> Parameters:
        if self.tile_overlap >= self.tile_size:
            raise ValueError("tile_overlap must be less than tile_size")
        return self


class Pose(Section):
    """Whole-body pose extraction."""

    batch_size: int = Field(default=8, ge=1, le=256)
    """Frames (or person crops) per inference where the model has a dynamic batch axis."""


class Motion(Section):
    """Alignment and motion fields."""

    person: PersonRule = "first"
    """Who is animated and who drives where several persons are seen: `first` (highest detection
    score, as in the original), `largest`, `tracked` (one person followed through the video), or
    `index:N`. A row's `reference_person` and `driver_person` say it for one of the two."""
    min_visible_keypoints: int = Field(default=1, ge=1, le=18)
    """Fewer visible body keypoints in the reference: the pair fails as `pose_too_sparse`."""
    allow_no_person: bool = False
    """Off: a reference in which nobody is found and hardly anything is visible fails as
    `no_person_reference`. On: it is animated, as in the original."""
    max_alignment_residual: float = Field(default=1.0, gt=0)
    """Root mean square residual of the alignment, fraction of the height. More:
    `alignment_poor`."""
    min_alignment_scale: float = Field(default=0.05, gt=0)
    """Smaller vertical scale of the alignment: `alignment_poor`."""
    max_alignment_scale: float = Field(default=20.0, gt=0)
    """Larger vertical scale of the alignment: `alignment_poor`."""
    decoder_batch: int = Field(default=16, ge=1, le=1024)
    """Frames the CMP decoder handles at once; bounds memory, does not change results."""


def person_rules(parameters: Parameters, motion: Motion) -> tuple[str, str]:
    """By which the persons of a row's reference and driver are chosen."""
    own = parameters.reference_person, parameters.driver_person
    return own[0] or motion.person, own[1] or motion.person


class CorrespondenceFeatures(Section):
    """Diffusion features of the reference."""

    seed: int = Field(default=42, ge=0, lt=2**63)
    """Seed of the feature noise (with the image's content). Not a row's seed, so that all rows
    share a reference's features."""
    ensemble: int = Field(default=8, ge=1, le=64)
    """Noise draws whose features are averaged."""
    timestep: int = Field(default=261, ge=0, le=999)
    """Diffusion step of the features."""
    prompt: str = "photo of a human"
    """Text condition of the features."""
    keep_feature_maps: bool = False
    """Store the whole feature map beside the keypoint embedding."""
    unet_batch: int = Field(default=8, ge=1, le=64)
    """Draws that go through the UNet at once; bounds memory."""


class Compute(Section):
    """Where and how things run; never changes what a unit is."""

    device: Literal["auto", "cuda", "cpu"] = "auto"
    """`auto`: CUDA where there is a GPU, else CPU."""
    allow_cpu: bool = True
    """Off: a GPU stage that comes up on the CPU is an error instead of a slow run."""
    gpus_per_job: int = Field(default=1, ge=1, le=64)
    """GPUs that a job of a stage with networks asks for, with a process on each; shards are as many
    times larger. For sites that give whole nodes."""
    threads: int = Field(default=0, ge=0, le=1024)
    """CPU threads per process; 0: what the scheduler gave."""
    compile_cache: str = ""
    """Folder of compiled code, yours alone (mode 0700); empty: one in your own cache."""
    decode_timeout: float = Field(default=60.0, gt=0, le=3600)
    """Seconds within which a media file must give the next sign of life while it is decoded; else
    it fails as `media_timeout`."""
    decode_memory: float = Field(default=4.0, ge=1, le=1024)
    """GiB that decoding a media file may take; else it fails as `media_too_large`."""


class Shards(Section):
    """How units are grouped into jobs."""

    minutes: float = Field(default=30.0, gt=0)
    """Aimed run time of a job."""
    maximum: int = Field(default=1024, ge=1, le=65536)
    """At most this many jobs per stage."""
    seconds_per_unit: Mapping[str, Annotated[float, BeforeValidator(plain_number), Field(gt=0)]] = {
        "ingest": 0.5,
        "pose": 6.0,
        "motion": 2.0,
        "correspondence": 2.0,
        "sample": 90.0,
        "mux": 10.0,
        "score": 5.0,
    }
    """Estimated seconds per unit, for the number of shards only, of stages that were never
    measured."""
    measured: bool = True
    """Learn from earlier runs beside this one what a unit takes by its frames, pixels and steps,
    and make shards of about equal time. Off: of about equal number."""
    gpu: str = ""
    """Kind of GPU whose measurements count, as `index.parquet` names it, or `cpu`; empty: the one
    that computed most."""

    @field_validator("seconds_per_unit")
    @classmethod
    def _check_stages(cls, value: Mapping[str, float]) -> Mapping[str, float]:
        for name in sorted(value.keys() - set(STAGES)):
            raise ValueError(f"there is no stage {name!r}{did_you_mean(name, STAGES)}")
        return value


class Config(Section):
    """Everything a run is made of."""

    run: str = Field(default="demo", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """Name of the run; its results lie in `<results>/<run>`."""
    manifest: str = "manifests/demo.csv"
    """CSV of (reference image, driving video) pairs; see manifests/README.md."""
    results: str = "results"
    """Folder of videos, report, ledgers and logs."""
    store: Annotated[Store, BeforeValidator(expand_store, json_schema_input_type=str | Store)] = (
        Store()
    )
    """Where artifacts lie, and which of them must; a path alone stands for `store.path`."""
    models: Annotated[
        Models, BeforeValidator(expand_bundle, json_schema_input_type=Bundle | Models)
    ] = Models()
    """Checkpoints; a bundle's name alone stands for the bundle in its usual folder."""
    parameters: Parameters = Parameters()
    pose: Pose = Pose()
    motion: Motion = Motion()
    correspondence: CorrespondenceFeatures = CorrespondenceFeatures()
    sampling: Sampling = Sampling()
    encoding: Encoding = Encoding()
    score: Score = Score()
    compute: Compute = Compute()
    shards: Shards = Shards()
    pilot: Pilot = Pilot()
    limits: Limits = Limits()

    @property
    def run_dir(self) -> Path:
        """Where this run's results lie."""
        return Path(self.results) / self.run


def load_config(values: Mapping[str, Any]) -> Config:
    """Check raw values (from YAML and the command line) and fill in defaults.

    Raises:
        ConfigError: Names every wrong key at once.
    """
    try:
        return Config.model_validate(with_defaults(values))
    except ValidationError as error:
        lines = [
            f"  {where or '(whole file)'}: {what}"
            for where, what in describe_validation_error(error, Config)
        ]
        raise ConfigError("the configuration has errors:\n" + "\n".join(lines)) from None


def json_schema() -> dict[str, Any]:
    """JSON Schema of the configuration file."""
    # Snakemake's `validate` crashes on a schema that does not name its dialect.
    return {"$schema": SCHEMA_DIALECT, **Config.model_json_schema()}
