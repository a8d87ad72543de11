"""What vila-nano is and how it is trained: sizes, steps, rates. The one place that says so."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from vila_core.config import from_mapping
from vila_core.errors import ConfigError
from vila_core.files.yaml_file import read_yaml


@dataclass(frozen=True, slots=True)
class ModelSizes:
    """The shape of a small NVILA: SigLIP tower, 2x2 space-to-channel projector, Qwen2 decoder."""

    image_size: int = 192
    patch_size: int = 24
    vision_width: int = 192
    vision_layers: int = 5
    vision_heads: int = 6
    width: int = 128
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    intermediate: int = 384
    vocab_size: int = 512
    max_positions: int = 1024
    num_frames: int = 8
    history_tokens: int = 4


@dataclass(frozen=True, slots=True)
class StageRecipe:
    """One stage of training: AdamW, linear warm-up, cosine decay to a tenth."""

    steps: int
    batch_size: int
    learning_rate: float
    vision_learning_rate: float = 0.0  # 0: the tower is frozen
    weight_decay: float = 0.05
    warmup_steps: int = 200
    batches_per_step: int = 1  # whose gradients are averaged


@dataclass(frozen=True, slots=True)
class DataRecipe:
    """What is driven by the oracle, and seen, to learn from; see `vila data`.

    views: no drives, but single frames from anywhere, of many more flats.
    """

    frames: int = 60_000
    families: str = "plain,rich"
    cameras: str = "mixed"
    seed: int = 0
    views: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """The stages: see what is where, follow words with frozen eyes, then both together, twice.

    views: beside the drives, of so many more flats that none is learned by heart; none if frames are 0.
    Before the last stage the model so far drives, and the oracle says at each frame what would have been right there
    (DAgger, Ross et al. 2011): it learns from where it gets to by itself. driven: that data, none if frames are 0.
    """

    sizes: ModelSizes = field(default_factory=ModelSizes)
    data: DataRecipe = field(default_factory=DataRecipe)
    views: DataRecipe = field(default_factory=lambda: DataRecipe(frames=40_000, seed=2, views=True))
    driven: DataRecipe = field(default_factory=lambda: DataRecipe(frames=20_000, seed=1))
    vision: StageRecipe = field(default_factory=lambda: StageRecipe(12_000, 64, 1e-3, warmup_steps=300))
    policy: StageRecipe = field(default_factory=lambda: StageRecipe(2800, 128, 1.5e-3))
    joint: StageRecipe = field(default_factory=lambda: StageRecipe(300, 64, 3e-4, 1e-4))
    joint_again: StageRecipe = field(default_factory=lambda: StageRecipe(450, 64, 4e-4, 2e-4, warmup_steps=50))
    grounding_weight: float = 1.0
    aim_weight: float = 0.3
    forced_token_weight: float = 0.05
    own_target_share: float = 0.5  # of samples that ask for the target that the robot was driving to
    nonsense_share: float = 0.2  # of instructions whose filler words are replaced by nonsense
    mirrored_share: float = 0.5  # of samples with the thing in view, of which left and right are exchanged
    zoomed_share: float = 0.5  # of the first stage's batches, of which a part is shown, enlarged
    precision: str = "auto"  # of torch's autocast: bfloat16 where that is quicker; weights and sums stay float32
    seed: int = 0


def read_recipe(file: Path) -> Recipe:
    """Read a recipe from YAML: what it does not say is as in Recipe().

    Raises ConfigError for a file that is none, and for an unknown key or a wrong value, naming it.
    """
    given = read_yaml(file) or {}
    if not isinstance(given, dict):
        raise ConfigError(f"{file}: expected names and values, got {type(given).__name__}")
    default, values = Recipe(), dict(given)
    for part in dataclasses.fields(Recipe):
        of_part = getattr(default, part.name)
        if part.name in given and dataclasses.is_dataclass(of_part) and not isinstance(of_part, type):
            if not isinstance(given[part.name], dict):
                raise ConfigError(f"{file}: {part.name} = {given[part.name]!r}: expected names and values")
            values[part.name] = from_mapping(type(of_part), dataclasses.asdict(of_part) | given[part.name])
    return from_mapping(Recipe, values)


@dataclass(frozen=True, slots=True)
class EventRecipe:
    """The relevance head's training, after all else. A batch is of clips."""

    names: StageRecipe = field(default_factory=lambda: StageRecipe(1200, 64, 2e-3, 5e-4, warmup_steps=100))
    events: StageRecipe = field(default_factory=lambda: StageRecipe(8400, 5, 1.5e-3, warmup_steps=100))
    frames: int = 40  # of a clip in a batch, from anywhere in it
    questions: int = 12  # of its own, that are asked about a clip
    contrasts: int = 3  # and so many more, about something else that might have happened to the same thing
    contrast_weight: float = 2.0
    sightings: int = 5  # and about what is in view
    sighting_weight: float = 0.5
    map_weight: float = 0.5
    named_clips: int = 6  # in a batch of events, of which all names are asked
    name_weight: float = 0.3
    verb_weight: float = 1.0
    rarer: float = 1.5  # how much rarer, in odds, what is asked for goes on when watching than in the lessons
    nonsense_share: float = 0.15  # of questions that words without a meaning stand before
    precision: str = "auto"  # of torch's autocast: bfloat16 where that is quicker; weights and sums stay float32
    seed: int = 0
