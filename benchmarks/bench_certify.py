"""Certify MNIST images under a net of widths 256-256: time against the plain way, and tries to beat certificates.

Run from the repository's root: ``python -m benchmarks.bench_certify``, with DIFFSTAB_DATA at the folder of MNIST
(random images without it). The plain way draws a field for each version by `draw_coefficients`, warps copies of the
image by `warp_by_coefficients` and counts, in batches of 100. Both take turns on parts of the images; the table has the
median time of a part, scaled to 500 images of 2,000 + 100 draws. ``--tries 10000`` attacks certified images with as
many fields inside their certificates, half random and half of gradient ascent, and counts those that are beaten.
"""

import argparse
import os
import platform
import statistics
import time

import torch
from torch import nn

from benchmarks.rounds import in_turn
from diffstab.diffeo import draw_coefficients, temperature_from_displacement, warp_by_coefficients
from diffstab.stability import AttackSettings, CertifySettings, attack, certify
from diffstab.stability.certify import certificates
from diffstab.stability.certify_votes import SmoothedClassifier, share_bounds

IMAGES, PART = 500, 20


def digits(count):
    """Training images and labels, then `count` test images and labels; random ones without the data."""
    root = os.environ.get("DIFFSTAB_DATA")
    generator = torch.Generator().manual_seed(0)
    if not root:
        images, labels = (
            torch.rand(2000, 1, 28, 28, generator=generator),
            torch.randint(10, (2000,), generator=generator),
        )
        return images, labels, images[:count], labels[:count]
    from torchvision.datasets import MNIST

    sets = [MNIST(root, train=train) for train in (True, False)]
    (images, labels), (test, known) = ((one.data[:, None].float() / 255, one.targets) for one in sets)
    return images[:20000], labels[:20000], test[:count], known[:count]


def trained_net(images, labels, epochs=3):
    torch.manual_seed(0)
    widths = [(784, 256), (256, 256), (256, 10)]
    layers = [part for width in widths for part in (nn.Linear(*width), nn.ReLU())]
    net = nn.Sequential(nn.Flatten(), *layers[:-1])
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(epochs):
        for part in torch.randperm(len(images)).split(100):
            loss = nn.functional.cross_entropy(net(images[part]), labels[part])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return net.eval()


def plainly(net, images, settings):
    """Radii of images, a batch of 100 copies at a time."""
    generator = torch.Generator().manual_seed(settings.seed)
    temperature = settings.sigma**2 * temperature_from_displacement(settings.delta_px, 28, settings.cutoff)

    def votes(image, draws):
        counts = torch.zeros(10, dtype=torch.int64)
        for size in [100] * (draws // 100):
            drawn = draw_coefficients(size, settings.cutoff, temperature=temperature, generator=generator)
            with torch.no_grad():
                scores = net(warp_by_coefficients(image.repeat(size, 1, 1, 1), drawn))
            counts += scores.argmax(1).bincount(minlength=10)
        return counts

    classes = [int(votes(image, settings.selection_draws).argmax()) for image in images.split(1)]
    counts = [int(votes(image, settings.draws)[k]) for image, k in zip(images.split(1), classes, strict=True)]
    return certificates(torch.tensor(classes), torch.tensor(counts), settings).radii


def times(net, images, repeats):
    settings = CertifySettings()
    calls = {
        "plain": lambda part: plainly(net, part, settings),
        "certify": lambda part: certify(net, part, settings).radii,
    }
    parts = {name: iter(images.split(PART) * repeats) for name in calls}

    def seconds(name):
        part, start = next(parts[name]), time.perf_counter()
        calls[name](part)
        return time.perf_counter() - start

    found = in_turn(calls, seconds, repeats)
    ratios = [one / other for one, other in zip(found["certify"], found["plain"], strict=True)]
    for name, past in found.items():
        scaled = [IMAGES / PART * one for one in past]
        print(
            f"{name:8} {statistics.median(scaled):7.1f} s ({min(scaled):.1f} to {max(scaled):.1f}) for {IMAGES} images"
        )
    print(f"ratio    {statistics.median(ratios):7.2f}   ({min(ratios):.2f} to {max(ratios):.2f})")


def tries(net, images, count):
    """Attack with fields just inside each certificate; one is beaten where its class surely has less than half."""
    settings = CertifySettings(draws=500, delta_px=3.0)
    proved = certify(net, images, settings)
    certified = (proved.radii > 0).nonzero()[:, 0].tolist()
    each = count // (2 * len(certified)) + 1
    smoothed = SmoothedClassifier(net, settings, (28, 28))
    votes = []
    for number in certified:
        image, label, place = images[number : number + 1], proved.classes[number], torch.tensor([number])
        radius, noise = 0.999 * float(proved.radii[number]), smoothed.estimation(place)[0]
        fields = [searched(net, image, label, radius, smoothed.span, seed) for seed in range(1, each + 1)]
        directions = torch.randn(
            each, smoothed.span.dimension, generator=torch.Generator().manual_seed(number)
        )
        fields += list(radius * nn.functional.normalize(directions.double(), dim=1))
        votes += [int(smoothed.votes(image, field + noise)[label]) for field in fields]
    highest = share_bounds(torch.tensor(votes), settings.draws, 0.001 / len(votes))[1]
    print(f"{len(votes)} fields inside {len(certified)} certificates: {int((highest < 0.5).sum())} beaten")
    print(f"least votes {min(votes)} of {settings.draws}")


def searched(net, image, label, radius, span, seed):
    """The coordinates of a field found by gradient ascent from another start."""
    search = AttackSettings((radius,), steps=10, restarts=1, draws=16)
    settings = CertifySettings(delta_px=3.0, draws=1, seed=seed)
    return span.whitened(attack(net, image, label[None], settings, search=search).fields[0, 0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="Parts of 20 images that are timed.")
    parser.add_argument("--tries", type=int, default=0, help="Attack certificates with so many fields.")
    parser.add_argument("--images", type=int, default=100, help="Images of the tries.")
    options = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads"
    )
    train, labels, images, known = digits(max(options.images, PART * options.repeats))
    net = trained_net(train, labels)
    with torch.no_grad():
        print(f"accuracy {float((net(images).argmax(1) == known).double().mean()):.3f}")
    if options.tries:
        tries(net, images[: options.images], options.tries)
    else:
        times(net, images, options.repeats)


if __name__ == "__main__":
    main()
