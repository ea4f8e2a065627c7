"""Images, a small net, a pass over them in batches, and what the formula gives on all of them at once."""

import itertools

import torch
from torch import nn

from diffstab.stability import LayerPass, diffeomorphism, numbered_pairs, stability

COUNT = 90


def images(dtype=torch.float64, count=COUNT, size=12):
    generator = torch.Generator().manual_seed(4)
    return torch.rand(count, 1, size, size, generator=generator, dtype=dtype)


def linear(*sizes, **options):
    with torch.random.fork_rng():
        return nn.Linear(*sizes, **options)


def small_net(dtype=torch.float64):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(400, 3)
        net = nn.Sequential(*parts).to(dtype)
        net[1].running_mean.normal_()
    return net.eval()


def measured(net, x, sizes, *, layers=("",), numbers=None, **options):
    """Sums over images cut into batches of these sizes, again and again."""
    numbers = torch.arange(len(x)) if numbers is None else numbers
    options = {"deformations": [diffeomorphism(0.3)], **options}
    start, sizes = 0, itertools.cycle(sizes)
    with LayerPass(net, layers=layers, **options) as measuring:
        while start < len(x):
            part = slice(start, start + next(sizes))
            measuring.update(x[part], numbers[part])
            start = part.stop
    return measuring


def by_formula(part, x, numbers=None, **options):
    """D, G, R and their parts from the outputs on all images at once."""
    numbers = torch.arange(len(x)) if numbers is None else numbers
    probes = numbered_pairs(x, numbers, **{"deform": diffeomorphism(0.3), "seed": 0, **options})
    with torch.no_grad():
        changed = [
            torch.stack([part(field) for field in fields]) for fields in (probes.deformed, probes.noisy)
        ]
        return [float(value) for value in stability(part(probes.clean), *changed)]


def floats(values):
    return [float(value) for value in values]
