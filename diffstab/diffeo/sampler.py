"""The sampler of random diffeomorphisms: a kornia augmentation that is a torchvision v2 transform too."""

from typing import Any

import torch
from kornia.augmentation import GeometricAugmentationBase2D
from kornia.geometry.boxes import Boxes
from kornia.geometry.keypoints import Keypoints
from torch.utils._pytree import tree_flatten, tree_unflatten
from torchvision.tv_tensors import TVTensor

from diffstab.diffeo import companions
from diffstab.diffeo.field import displacement_field, draw_coefficients, resolve_temperature
from diffstab.diffeo.folding import warn_of_folding
from diffstab.diffeo.kornia_companions import Parameters, moved_keypoints, moved_quadrilaterals, undone_images
from diffstab.diffeo.precision import restored
from diffstab.diffeo.process_streams import ProcessStream, process_rank, process_stream
from diffstab.diffeo.temperature import check_cutoff
from diffstab.diffeo.warp import Mode, check_mode, warp_by_coefficients
from diffstab.errors import ArgumentError

Flags = dict[str, Any]

_KEYWORDS = {
    "data_keys",
    "save_kwargs",
    "resample",
    "align_corners",
    "mode",
}  # kornia's containers pass the first four


class RandomDiffeomorphism(GeometricAugmentationBase2D):
    """Deform images, and what belongs to them, by random maximum-entropy diffeomorphisms.

    Usable as a kornia augmentation, alone and in kornia's containers with every data key, and as a transform of
    torchvision v2: ``augment(images)``, ``augment(image, label)``, ``augment({"image": image, "mask": mask})``.

    - Images are (H, W), (C, H, W) or (n, C, H, W): floats of any precision, uint8 (rounded), PIL images or
      ``tv_tensors.Image``. They are warped in float32 (float64 for float64), under autocast too; type and shape come
      back. A ``tv_tensors.Video`` has one field for all its frames.
    - Masks (kornia's key, ``tv_tensors.Mask``) take the value of the nearest pixel. Key points and boxes follow the
      picture: p goes to the q with q - tau(q) = p. A box becomes the upright box around its deformed outline, so it
      may grow. Coordinates in integers are rounded. Rotated boxes are refused.
    - In a torchvision sample one field (of the unit square) is shared by all parts, each on its own grid; the first
      image sets the temperature of ``delta_px``. A plain tensor is the image if it is the first and no image, video
      or PIL image is there; labels and all other parts pass unchanged. A batch (n, C, H, W) has one field per image.
    - ``inverse`` undoes a call up to the blur of two interpolations, and warns where a field folds.
    - The drawn parameters stay in ``_params`` (``"coefficients"``: (n, 2, c, c) in float64);
      ``augment(images, params=augment._params)`` repeats a call to the bit. A field has no matrix:
      ``transform_matrix`` is NaN for deformed images.

    Args:
        delta_px: Typical displacement in pixels; exactly one of this and ``temperature`` is given.
        temperature: Temperature T.
        cutoff: High-frequency cut-off c, at least 2.
        mode: Interpolation of images: ``"bilinear"``, ``"nearest"`` or ``"gaussian"``.
        p: Probability that an image is deformed.
        same_on_batch: Share one field (and one decision of ``p``) over the batch.
        keepdim: Give an image back in the shape it came in; False makes every output of a plain tensor a batch, as
            is the default of kornia's own augmentations.
        generator: Source of randomness; torch's global generator when None, as in kornia and torchvision. A
            call ``augment(images, generator=other)`` draws from another one.

    Raises:
        ArgumentError: An argument is out of range; on a call, images that `warp` refuses, unknown keywords.

    Warns:
        FoldingWarning: At the first call, if the temperature exceeds the admissible range.

    Convention:
        The main process draws from ``generator`` itself. A copy in a worker of a data loader, or in a process of rank
        > 0 of a DDP run, draws from a stream of its own, named by (state of the generator, seed of the worker, rank):
        no two workers, epochs or ranks share draws. The loader makes the seeds of workers from its own generator, or
        from torch's global one: with that seeded too, a run repeats itself. With ``generator=None`` draws depend on
        how the process is seeded, which torch does for workers but not for ranks.

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
        self._process_stream: ProcessStream | None = None
        self._rank_of_parent = 0

    def forward(
        self,
        input: Any,
        *more: Any,
        params: Parameters | None = None,
        generator: torch.Generator | None = None,
        **kwargs: Any,
    ) -> Any:
        """Deform images, or a sample of torchvision v2; ``params`` replays an earlier call."""
        unknown = set(kwargs) - _KEYWORDS
        if unknown:
            raise ArgumentError(
                "keyword", f"be one of params, generator, {', '.join(sorted(_KEYWORDS))}", unknown
            )
        check_mode(kwargs.get("mode", self.flags["mode"]))
        if len(more) == 1 and _is_draw(more[0]):  # kornia's second positional argument
            params, more = more[0], ()
        given, self._given = self._given, generator
        try:
            if more or not isinstance(input, torch.Tensor) or isinstance(input, TVTensor):
                return self._deform_sample((input, *more) if more else input, params, **kwargs)
            return self._deform_images(input, params, **kwargs)
        finally:
            self._given = given

    _given: torch.Generator | None = None  # of the call that is running

    def inverse(self, input: torch.Tensor, params: Parameters | None = None, **kwargs: Any) -> torch.Tensor:
        """Undo the last call, or that of ``params``, on images of a kornia-style call."""
        result: torch.Tensor = super().inverse(companions.as_floats(input), params, **kwargs)
        return restored(result, input.dtype)

    def generate_parameters(self, batch_shape: tuple[int, ...]) -> Parameters:
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
        return {"coefficients": coefficients.expand(count, -1, -1, -1)}

    def apply_transform(
        self, input: torch.Tensor, params: Parameters, flags: Flags, transform: Any = None
    ) -> torch.Tensor:
        """Deform a batch of images with given parameters."""
        return warp_by_coefficients(input, params["coefficients"], flags["mode"])

    def apply_transform_mask(
        self, input: torch.Tensor, params: Parameters, flags: Flags, transform: Any = None
    ) -> torch.Tensor:
        """Deform masks like their images, each pixel taking the label of the nearest one."""
        return warp_by_coefficients(input, params["coefficients"], "nearest")

    def apply_transform_keypoint(
        self, input: Keypoints, params: Parameters, flags: Flags, transform: Any = None
    ) -> Keypoints:
        """Move key points with the picture."""
        return moved_keypoints(input, params)

    def apply_transform_box(
        self, input: Boxes, params: Parameters, flags: Flags, transform: Any = None
    ) -> Boxes:
        """Put upright boxes around the deformed outlines of boxes."""
        return moved_quadrilaterals(input, params)

    def compute_transformation(self, input: torch.Tensor, params: Parameters, flags: Flags) -> torch.Tensor:
        """Return NaN (n, 3, 3): a field has no matrix, and whoever uses one must see it."""
        return input.new_full((len(input), 3, 3), torch.nan)

    def compute_inverse_transformation(self, transform: torch.Tensor) -> torch.Tensor:
        """Return the matrix of no meaning as it is."""
        return transform

    def inverse_inputs(
        self, input: torch.Tensor, params: Parameters, flags: Flags, transform: Any = None, **kwargs: Any
    ) -> torch.Tensor:
        """Undo the deformation of a batch of images."""
        return undone_images(input, params, applied=self._applied(params), mode=flags["mode"])

    def inverse_masks(
        self, input: torch.Tensor, params: Parameters, flags: Flags, transform: Any = None, **kwargs: Any
    ) -> torch.Tensor:
        """Undo the deformation of masks, each pixel taking the label of the nearest one."""
        batch = self.transform_tensor(input, shape=params["forward_input_shape"], match_channel=False)
        result = undone_images(batch, params, applied=self._applied(params), mode="nearest")
        return result.reshape(input.shape) if self.keepdim else result

    def inverse_keypoints(
        self, input: Keypoints, params: Parameters, flags: Flags, transform: Any = None, **kwargs: Any
    ) -> Keypoints:
        """Move key points back."""
        moved = moved_keypoints(input, params, back=True)
        return self._chosen(moved, input, params)

    def inverse_boxes(
        self, input: Boxes, params: Parameters, flags: Flags, transform: Any = None, **kwargs: Any
    ) -> Boxes:
        """Put upright boxes around the outlines of boxes moved back: they hold the boxes of before."""
        moved = moved_quadrilaterals(input, params, back=True)
        return self._chosen(moved, input, params)

    def __batch_prob_generator__(
        self, batch_shape: tuple[int, ...], p: float, p_batch: float, same_on_batch: bool
    ) -> torch.Tensor:
        """Decide which images are deformed; kornia's own method draws from torch's global generator."""
        if p == 1:  # nothing to decide: one seed then gives the fields of `draw_coefficients`
            return torch.ones(batch_shape[0], device=self.device, dtype=self.dtype)
        source = self._source()
        count = 1 if same_on_batch else batch_shape[0]
        chosen = torch.rand(count, generator=source, device=source.device) < p
        return chosen.to(device=self.device, dtype=self.dtype).expand(batch_shape[0])

    def __getstate__(self) -> dict[str, Any]:
        """Note the rank: a loader's worker that is spawned, not forked, cannot ask for it."""
        return {**self.__dict__, "_rank_of_parent": self._rank()}

    def _deform_images(self, images: torch.Tensor, params: Parameters | None, **kwargs: Any) -> torch.Tensor:
        if images.ndim not in (2, 3, 4):
            raise ArgumentError("images", "have 2 to 4 dimensions", f"shape {tuple(images.shape)}")
        result: torch.Tensor = super().forward(companions.as_floats(images), params, **kwargs)
        return restored(result, images.dtype)

    def _deform_sample(self, sample: Any, params: Parameters | None, **kwargs: Any) -> Any:
        leaves, structure = tree_flatten(sample)
        image = companions.image_of(leaves)
        moving = [place for place, leaf in enumerate(leaves) if place == image or companions.is_spatial(leaf)]
        if not moving:
            raise ArgumentError("sample", "hold an image, a mask, boxes or key points", type(sample).__name__)
        if params is None:
            params = self.forward_parameters(
                companions.batch_shape(leaves[moving[0] if image is None else image])
            )
        self._params = params
        draw = companions.FieldDraw(
            params["coefficients"],
            applied=self._applied(params),
            mode=kwargs.get("mode", self.flags["mode"]),
            shared=self.same_on_batch,
        )
        for place in moving:
            leaves[place] = companions.deformed(leaves[place], draw)
        return tree_unflatten(leaves, structure)

    def _applied(self, params: Parameters) -> torch.Tensor:
        """Which images are deformed; with p = 1 all are, whatever the parameters say, as in kornia."""
        chosen = params["batch_prob"] > 0.5
        return torch.ones_like(chosen) if self.p == 1 else chosen

    def _chosen(self, moved: Any, unmoved: Any, params: Parameters) -> Any:
        """The moved coordinates of the images that are deformed, else the unmoved ones."""
        data = moved.data
        applied = self._applied(params).to(data.device).view(-1, *[1] * (data.ndim - 1))
        moved._data = torch.where(applied, data, unmoved.data)
        return moved

    def _source(self) -> torch.Generator:
        if self._given is not None:
            return self._given
        if self.generator is None:
            return torch.default_generator
        self._process_stream = process_stream(self.generator, self._process_stream, rank=self._rank())
        return self.generator if self._process_stream is None else self._process_stream.generator

    def _rank(self) -> int:
        return process_rank() or self._rank_of_parent


def _is_draw(value: Any) -> bool:
    """Tell whether a positional argument is the parameters of an earlier call, not part of a sample."""
    return isinstance(value, dict) and {"coefficients", "batch_prob"} <= value.keys()
