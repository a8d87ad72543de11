"""Vision tower, scales and projector as one graph: normalised pixels of any batch to visual tokens."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from vila_core.models.s2 import concat_scales, merge_blocks, split_blocks, tokens_to_map
from vila_core.models.vlm import VisionLanguageModel


class VisionGraph(nn.Module):
    """Pixels [B, 3, S, S] -> visual tokens [B, N, D], as VisionLanguageModel.encode_squares from its second step on."""

    def __init__(self, model: VisionLanguageModel) -> None:
        super().__init__()
        self.vision_tower = model.vision_tower
        self.projector = model.projector
        self.images = model.config.images

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the visual tokens."""
        return self.projector(self._features(pixels))

    def _features(self, pixels: Tensor) -> Tensor:
        scales = self.images.s2_scales
        if not scales:
            return self.vision_tower(pixels)
        if self.images.dynamic_s2:  # a frame is one tile: every scale has the same features
            return self.vision_tower(pixels).repeat(1, 1, len(scales))
        maps = [self._scale(pixels, scale) for scale in scales]
        return concat_scales(maps, self.images.s2_resize_index).flatten(2).transpose(1, 2)

    def _scale(self, pixels: Tensor, scale: int) -> Tensor:
        """Features [B, C, h, w] of one scale; the batch stays the only free dimension."""
        sized = pixels
        if scale != pixels.shape[-1]:
            sized = F.interpolate(pixels.float(), size=(scale, scale), mode="bicubic").to(pixels.dtype)
        side = -(-scale // (self.images.s2_max_split_size or pixels.shape[-1]))
        squares = split_blocks(sized, (side, side))
        features = self.vision_tower(squares.flatten(0, 1)).unflatten(0, (-1, side * side))
        return merge_blocks(tokens_to_map(features), (side, side))
