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


def tries(net, images, count, draws=500):
    """Attack with fields just inside each certificate; a certificate is beaten where its class surely has no half."""
    settings = CertifySettings(draws=draws, delta_px=3.0)
    proved = certify(net, images, settings)
    smoothed = SmoothedClassifier(net, settings, (28, 28))
    certified = (proved.radii > 0).nonzero()[:, 0].tolist()
    each = count // (2 * len(certified)) + 1
    done, least, beaten = 0, draws, 0
    for number in certified:
        image, radius, place = (
            images[number : number + 1],
            0.999 * float(proved.radii[number]),
            torch.tensor([number]),
        )
        search = AttackSettings((radius,), steps=10, restarts=1, draws=16)
        fields = [
            smoothed.span.whitened(
                attack(
                    net,
                    image,
                    proved.classes[number : number + 1],
                    CertifySettings(seed=1 + k, draws=1, delta_px=3.0),
                    search=search,
                ).fields[0]
            )
            for k in range(each)
        ]
        directions = torch.randn(
            each, smoothed.span.dimension, generator=torch.Generator().manual_seed(number)
        )
        fields += [radius * direction[None].double() / direction.norm() for direction in directions]
        noise = smoothed.estimation(place)[0]
        for field in fields:
            votes = int(smoothed.votes(image, field + noise)[int(proved.classes[number])])
            least = min(least, votes)
            beaten += bool(share_bounds(torch.tensor(votes), draws, 0.001 / count)[1] < 0.5)
            done += 1
    print(
        f"{done} fields inside {len(certified)} certificates: {beaten} beaten; least votes {least} of {draws}"
    )


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
