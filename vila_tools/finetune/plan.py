"""Which parts of a model are trained, how, and how quickly."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint as recompute

from vila_core.errors import ConfigError
from vila_core.models.stored.adapter_writer import Trained
from vila_core.models.stored.adapters import Key
from vila_core.models.vision_tower import VisionTower
from vila_core.models.vlm import VisionLanguageModel
from vila_tools.finetune.lora import DECODER_LINEARS, TOWER_LINEARS, LoraLinear, add_lora

DECODER_WAYS, PROJECTOR_WAYS = ("lora", "full", "frozen"), ("full", "frozen")
TOWER_WAYS = ("norm", "lora", "full", "frozen")
_TOWER_SHARE = 0.1  # of the decoder's rate. NVILA found a fifth to a fiftieth best (arXiv:2412.04468, section 2.4)
SEEN_SHARES = (1 / 50, 1 / 5)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is trained of each part.

    norm: the tower's layer norms alone, as cheap as LoRA there and quicker. tower_rate and projector_rate: None for a
    tenth of the decoder's, and for the decoder's.
    """

    decoder: str = "lora"
    projector: str = "full"
    tower: str = "norm"
    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    decoder_rate: float = 1e-4
    projector_rate: float | None = None
    tower_rate: float | None = None
    saves_memory: bool = False  # layers are run again for their gradients

    def __post_init__(self) -> None:
        if {self.decoder, self.projector, self.tower} == {"frozen"}:
            raise ConfigError("decoder, projector and tower are all frozen: nothing is left to train")
        if not 1 <= self.rank <= 4096:
            raise ConfigError(f"rank = {self.rank}: must be from 1 to 4096")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout = {self.dropout:g}: must be at least 0 and below 1")
        for name, value in (("alpha", self.alpha), *((f"{part}_rate", rate) for part, rate in self.rates.items())):
            if not 0 < value < 1e6:
                raise ConfigError(f"{name} = {value:g}: must be above 0")

    @property
    def rates(self) -> dict[str, float]:
        """Peak learning rates by part."""
        return {
            "decoder": self.decoder_rate,
            "projector": self.decoder_rate if self.projector_rate is None else self.projector_rate,
            "tower": _TOWER_SHARE * self.decoder_rate if self.tower_rate is None else self.tower_rate,
        }

    @property
    def is_adapter(self) -> bool:
        """Whether what is trained is small beside the model, and so kept as an adapter."""
        return "full" not in (self.decoder, self.tower)

    @property
    def warning(self) -> str:
        """What is unusual about the rates; "" if nothing is."""
        if self.tower == "frozen" or self.decoder == "frozen":
            return ""
        share = self.rates["tower"] / self.rates["decoder"]
        low, high = SEEN_SHARES
        if low * 0.999 <= share <= high * 1.001:
            return ""
        return f"the tower's rate is {share:.3g} of the decoder's; NVILA was trained best with {low:.3g} to {high:.3g}"


def apply_plan(model: VisionLanguageModel, plan: Plan) -> dict[str, list[nn.Parameter]]:
    """Freeze the model, add what is trained, and return that by part; parts that are frozen are left out.

    What is trained becomes float32, whatever it was stored in; so do all norms and biases, which are small.
    """
    model.requires_grad_(False)
    for weight in model.parameters():
        if weight.dim() == 1:
            weight.data = weight.data.float()
    trained = {
        "decoder": _decoder(model, plan),
        "projector": list(model.projector.parameters()) if plan.projector == "full" else [],
        "tower": _tower(model.vision_tower, plan),
    }
    for weights in trained.values():
        for weight in weights:
            weight.data = weight.data.float()
            weight.requires_grad_(True)
    if plan.saves_memory:
        for layer in (*model.language_model.layers, *model.vision_tower.encoder.layers):
            layer.forward = partial(recompute, layer.forward, use_reentrant=False)  # type: ignore[method-assign]
    return {part: weights for part, weights in trained.items() if weights}


def _decoder(model: VisionLanguageModel, plan: Plan) -> list[nn.Parameter]:
    if plan.decoder == "full":
        return list(model.language_model.parameters())
    if plan.decoder == "lora":
        return add_lora(model.language_model.layers, DECODER_LINEARS, plan.rank, plan.alpha, plan.dropout)
    return []


def _tower(tower: VisionTower, plan: Plan) -> list[nn.Parameter]:
    if plan.tower == "full":
        return list(tower.parameters())
    if plan.tower == "lora":
        return add_lora(tower.encoder.layers, TOWER_LINEARS, plan.rank, plan.alpha, plan.dropout)
    if plan.tower == "norm":
        norms = (module for module in tower.modules() if isinstance(module, nn.LayerNorm))
        return [weight for norm in norms for weight in norm.parameters()]
    return []


def trained_tensors(model: VisionLanguageModel, plan: Plan) -> Trained:
    """Return what was trained, by its official name."""
    pairs = {
        _key(name + ".weight"): (module.down.detach(), module.up.detach())
        for name, module in model.named_modules()
        if isinstance(module, LoraLinear)
    }
    of_pairs = {
        id(weight)
        for module in model.modules()
        if isinstance(module, LoraLinear)
        for weight in (module.down, module.up)
    }
    whole = {
        _key(name): weight.detach()
        for name, weight in model.named_parameters()
        if weight.requires_grad and id(weight) not in of_pairs
    }
    return Trained(plan.rank, plan.alpha, pairs, whole)


_PARTS = {
    "language_model": ("llm", "model."),
    "vision_tower": ("vision_tower", "vision_model."),
    "projector": ("mm_projector", ""),
}


def _key(name: str) -> Key:
    """Part and official name of one of the model's tensors."""
    own, _, inside = name.partition(".")
    part, prefix = _PARTS[own]
    return part, inside if inside.startswith("lm_head.") else prefix + inside
