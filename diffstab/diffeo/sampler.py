"""The sampler of random diffeomorphisms as a kornia augmentation."""

from typing import Any

import torch
from kornia.augmentation import AugmentationBase2D

from diffstab.diffeo.field import displacement_field, draw_coefficients, resolve_temperature
from diffstab.diffeo.folding import warn_of_folding
from diffstab.diffeo.temperature import check_cutoff
from diffstab.diffeo.warp import Mode, check_dtype, check_mode, warp_by_coefficients
from diffstab.errors import ArgumentError


class RandomDiffeomorphism(AugmentationBase2D):
    """Deform images by random maximum-entropy diffeomorphisms.

    A kornia augmentation, usable in `kornia.augmentation.AugmentationSequential` (images and masks; masks
    are resampled to the nearest pixel) and in `torchvision.transforms.v2.Compose`, on one image (C, H, W) or
    a batch (n, C, H, W). The drawn parameters stay in ``_params`` (``"coefficients"``: (n, 2, c, c) in
    float64); ``augmentation(images, params=augmentation._params)`` repeats a call to the bit.

    Args:
        delta_px: Typical displacement in pixels; exactly one of this and ``temperature`` is given.
        temperature: Temperature T.
        cutoff: High-frequency cut-off c, at least 2.
        mode: Interpolation: ``"bilinear"``, ``"nearest"`` or ``"gaussian"``.
        p: Probability that an image is deformed.
        same_on_batch: Share one field (and one decision of ``p``) over the batch.
        keepdim: Give an image back in the shape it came in; False makes every output a batch, as
            is the default of kornia's own augmentations.
        generator: Source of randomness; torch's global generator when None, as in kornia and torchvision.

    Raises:
        ArgumentError: An argument is out of range; on a call, images that `warp` refuses.

    Warns:
        FoldingWarning: At the first call, if the temperature exceeds the admissible range.

    Source:
        Petrini et al., arXiv 2105.02468, section 2.
    """

    def __init__(
        self,
        delta_px: float | None = None,
        temperature: float | None = None,
        *,
        cutoff: int = 3,
        mode: Mode = "bilinear",
        p: float = 1.0,
        same_on_batch: bool = False,
        keepdim: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(p=p, same_on_batch=same_on_batch, keepdim=keepdim)
        if not 0 <= p <= 1:
            raise ArgumentError("p", "be between 0 and 1", p)
        check_cutoff(cutoff)
        check_mode(mode)
        resolve_temperature(delta_px, temperature, height=2, width=2, cutoff=cutoff)
        self.generator = generator
        self.flags: dict[str, Any] = {
            "delta_px": delta_px,
            "temperature": temperature,
            "cutoff": cutoff,
            "mode": mode,
        }
        self._folding_checked = False

    def forward(
        self, input: torch.Tensor, params: dict[str, torch.Tensor] | None = None, **kwargs: Any
    ) -> torch.Tensor:
        """Deform images (n, C, H, W), or one (C, H, W) or (H, W); ``params`` replays an earlier call."""
        if input.ndim not in (2, 3, 4):
            raise ArgumentError("images", "have 2 to 4 dimensions", f"shape {tuple(input.shape)}")
        check_dtype(input)
        result: torch.Tensor = super().forward(input, params, **kwargs)
        return result

    def generate_parameters(self, batch_shape: tuple[int, ...]) -> dict[str, torch.Tensor]:
        """Draw the sine coefficients for a batch of shape (n, C, H, W)."""
        count, _, height, width = batch_shape
        cutoff = self.flags["cutoff"]
        temperature = resolve_temperature(
            self.flags["delta_px"], self.flags["temperature"], height=height, width=width, cutoff=cutoff
        )
        coefficients = draw_coefficients(
            min(count, 1) if self.same_on_batch else count,
            cutoff,
            temperature=temperature,
            generator=self._source(),
            dtype=torch.float64,
        )
        if not self._folding_checked:
            field = displacement_field(coefficients, height, width)
            warn_of_folding(field, temperature=temperature, cutoff=cutoff)
            self._folding_checked = True
        return {"coefficients": coefficients}

    def apply_transform(
        self,
        input: torch.Tensor,
        params: dict[str, torch.Tensor],
        flags: dict[str, Any],
        transform: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Deform a batch of images with given parameters."""
        return warp_by_coefficients(input, params["coefficients"], flags["mode"])

    def apply_transform_mask(
        self,
        input: torch.Tensor,
        params: dict[str, torch.Tensor],
        flags: dict[str, Any],
        transform: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Deform masks like their images, each pixel taking the label of the nearest one."""
        return warp_by_coefficients(input, params["coefficients"], "nearest")

    def apply_non_transform_mask(
        self,
        input: torch.Tensor,
        params: dict[str, torch.Tensor],
        flags: dict[str, Any],
        transform: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Leave the masks of the images that are not deformed as they are."""
        return input

    def __batch_prob_generator__(
        self, batch_shape: tuple[int, ...], p: float, p_batch: float, same_on_batch: bool
    ) -> torch.Tensor:
        """Decide which images are deformed; kornia's own method draws from torch's global generator."""
        source = self._source()
        if p == 1:  # nothing to decide: one seed then gives the fields of `draw_coefficients`
            return torch.ones(batch_shape[0], device=self.device, dtype=self.dtype)
        count = 1 if same_on_batch else batch_shape[0]
        chosen = torch.rand(count, generator=source, device=source.device) < p
        return chosen.to(device=self.device, dtype=self.dtype).expand(batch_shape[0])

    def _source(self) -> torch.Generator:
        return torch.default_generator if self.generator is None else self.generator
