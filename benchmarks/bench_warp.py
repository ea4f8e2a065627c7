"""Draw and warp 1000 images: the batched code against a loop over images, on one thread.

Run from the repository's root: ``python -m benchmarks.bench_warp``. The baseline draws each field with
its own sum over the sine modes, interpolates bilinearly by indexing the four neighbours of every pixel, and
stacks the results: vectorised over the pixels of one image, as scripts that deform one image do. Both sides run
in turn, so that a change in the machine's load meets both; the table has the median time of each, and the median
and the range of the ratio.
"""

import argparse
import math
import platform
import statistics
import subprocess
import time

import torch

from diffstab.diffeo import (
    draw_coefficients,
    draw_field,
    temperature_from_displacement,
    warp,
    warp_by_coefficients,
)

CASES = ((28, 1), (32, 3), (224, 3))
CUTOFF = 3
DELTA_PX = 1.0


def draw_component(height, width, temperature, generator):
    modes = torch.arange(1, CUTOFF + 1)
    i, j = torch.meshgrid(modes, modes, indexing="ij")
    norm = (i**2 + j**2).sqrt()
    coefficients = torch.randn(CUTOFF, CUTOFF, generator=generator) * (norm < CUTOFF + 0.5) / norm
    columns = torch.sin(math.pi * torch.linspace(0, 1, width)[:, None] * modes)
    rows = torch.sin(math.pi * torch.linspace(0, 1, height)[:, None] * modes)
    return math.sqrt(temperature) * torch.einsum("ij,xi,yj->yx", coefficients, columns, rows)


def interpolate(image, dx, dy):
    height, width = image.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    x = (x - dx).clamp(0, width - 1)
    y = (y - dy).clamp(0, height - 1)
    left, top, right, bottom = x.floor().long(), y.floor().long(), x.ceil().long(), y.ceil().long()
    across, down = x - left, y - top
    return (
        (1 - down) * (1 - across) * image[:, top, left]
        + (1 - down) * across * image[:, top, right]
        + down * (1 - across) * image[:, bottom, left]
        + down * across * image[:, bottom, right]
    )


def deform_one(image, temperature, generator):
    height, width = image.shape[-2:]
    dx = width * draw_component(height, width, temperature, generator)
    dy = height * draw_component(height, width, temperature, generator)
    return interpolate(image, dx, dy)


def loop(images, generator):
    temperature = temperature_from_displacement(DELTA_PX, images.shape[-1], CUTOFF)
    return torch.stack([deform_one(image, temperature, generator) for image in images])


def batched(images, generator):
    field = draw_field(len(images), *images.shape[-2:], delta_px=DELTA_PX, cutoff=CUTOFF, generator=generator)
    return warp(images, field)


def by_coefficients(images, generator):
    temperature = temperature_from_displacement(DELTA_PX, images.shape[-1], CUTOFF)
    coefficients = draw_coefficients(len(images), CUTOFF, temperature=temperature, generator=generator)
    return warp_by_coefficients(images, coefficients)


def seconds(function, images, generator):
    start = time.perf_counter()
    function(images, generator)
    return time.perf_counter() - start


def measure(images, function, repetitions):
    generator = torch.Generator().manual_seed(0)
    function(images, generator)  # warm up
    loop(images[:50], generator)
    pairs = [
        (seconds(loop, images, generator), seconds(function, images, generator)) for _ in range(repetitions)
    ]
    ratios = sorted(slow / fast for slow, fast in pairs)
    slow, fast = (statistics.median(times) for times in zip(*pairs))
    return slow, fast, statistics.median(ratios), ratios[0], ratios[-1]


def processor():
    with open("/proc/cpuinfo") as lines:  # noqa: PTH123
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1000, help="images per call")
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    print(f"commit {commit}, torch {torch.__version__}, one thread, {processor()}")
    print(f"{'image':>10} {'code':>16} {'loop s':>8} {'batched s':>9} {'ratio':>6}  range")
    for size, channels in CASES:
        images = torch.rand(options.count, channels, size, size, generator=torch.Generator().manual_seed(1))
        for function in (batched, by_coefficients):
            slow, fast, ratio, low, high = measure(images, function, options.repetitions)
            name = f"{size}x{size}x{channels}"
            print(
                f"{name:>10} {function.__name__:>16} {slow:8.3f} {fast:9.4f} {ratio:6.1f}  {low:.1f}-{high:.1f}"
            )


if __name__ == "__main__":
    main()
