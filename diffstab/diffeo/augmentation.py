"""Random diffeomorphisms of every admissible strength, as an augmentation in training."""

import torch

from diffstab.diffeo.kornia_companions import Parameters
from diffstab.diffeo.sampler import RandomDiffeomorphism
from diffstab.diffeo.temperature import admissible_temperatures, check_cutoff, mode_variances
from diffstab.diffeo.warp import Mode
from diffstab.errors import ArgumentError


class DeformationAugmentation(RandomDiffeomorphism):
    """Deform each image by a diffeomorphism of its own cut-off and temperature.

        c ~ Uniform{c_min, ..., c_max},  T ~ Uniform[T_min(n, c), T_max(c)]

    T_min moves the centre by half a pixel, at T_max fields fold in the typical sense (`admissible_temperatures`). In
    all else it is a `RandomDiffeomorphism`: a kornia augmentation and a transform of torchvision v2, for batches on a
    device or images in the workers of a loader.

    Args:
        cutoffs: Smallest and largest high-frequency cut-off c; the largest admits T_min <= T_max, c < 2 n / pi.
        mode: Interpolation of images: ``"bilinear"``, ``"nearest"`` or ``"gaussian"``.
        p: Probability that an image is deformed.
        generator: Source of randomness; torch's global generator when None.

    Raises:
        ArgumentError: An argument is out of range; on a call, if a cut-off admits no temperature at this size.

    Source:
        Petrini, Favero, Geiger, Wyart, arXiv 2105.02468: the range of temperatures; the laws are those of the transform
        of their code (github pcsl-epfl/diffeomorphism, transform.py) at sT = scut = 2, rT = rcut = 1, where its beta
        distributions are uniform, and cutmax = 15.
    """

    def __init__(
        self,
        cutoffs: tuple[int, int] = (2, 15),
        *,
        mode: Mode = "bilinear",
        p: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        least, most = cutoffs
        check_cutoff(least)
        if not isinstance(most, int) or most < least:
            raise ArgumentError("cutoffs", "be two whole numbers, the smaller one first", cutoffs)
        super().__init__(temperature=0.0, cutoff=most, mode=mode, p=p, generator=generator)
        self.cutoffs = (least, most)

    def generate_parameters(self, batch_shape: tuple[int, ...]) -> Parameters:
        """Draw a cut-off, a temperature and sine coefficients for each image of a batch (n, C, H, W).

        Returns:
            "coefficients" (n, 2, c_max, c_max), zero outside each image's own cut-off; "temperature" and "cutoff" (n,).
        """
        count, _, height, width = batch_shape
        source = self._source()
        chosen, temperature = self._strengths(count, (height, width), source)
        least, most = self.cutoffs
        variances = torch.zeros(most - least + 1, most, most, dtype=torch.float64)
        for place, cutoff in enumerate(range(least, most + 1)):
            variances[place, :cutoff, :cutoff] = mode_variances(cutoff)
        deviations = (temperature[:, None, None] * variances[chosen]).sqrt().to(source.device)
        shape = (count, 2, most, most)
        normal = torch.randn(shape, generator=source, dtype=torch.float64, device=source.device)
        return {
            "coefficients": normal * deviations[:, None],
            "temperature": temperature,
            "cutoff": chosen + least,
        }

    def _strengths(
        self, count: int, size: tuple[int, int], source: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw the place of each image's cut-off in the range, and its temperature."""
        least, most = self.cutoffs
        ranges = [admissible_temperatures(size, cutoff) for cutoff in range(least, most + 1)]
        empty = [cutoff for cutoff, (low, high) in enumerate(ranges, start=least) if low > high]
        if empty:
            condition = f"stay below {empty[0]} for images of {size[0]} x {size[1]} px"
            way_out = "With more modes no temperature moves half a pixel and does not fold."
            raise ArgumentError("cutoffs", condition, self.cutoffs, way_out)
        bounds = torch.tensor(ranges, dtype=torch.float64)
        chosen = torch.randint(len(ranges), (count,), generator=source, device=source.device).cpu()
        place = torch.rand(count, generator=source, dtype=torch.float64, device=source.device).cpu()
        low, high = bounds[chosen].unbind(1)
        return chosen, low + (high - low) * place
