"""Measure layers of a ResNet-18 at 224 px: a pass with hooks against bare forwards, time and memory.

Run from the repository's root: ``python -m benchmarks.bench_layers``. The baseline of the times runs the net on ready
batches [x; tau x; x + eta] and keeps nothing. Against it stand passes of `LayerPass`, drawing and warping included,
over the output alone, one layer for each block, and all modules (leaves and blocks). Baseline and passes take turns
batch by batch, so that a change in the machine's load meets all; the table has the median time of a batch, and the
median and the range of the ratio. What a pass does once, at its start, is told apart. ``--memory`` shows the largest
memory of fresh processes that measure 200 and 2,000 images by `measure`, all modules, and their ratio; ``--side 32``
shows what the images themselves add, in a fiftieth of the time.
"""

import argparse
import platform
import resource
import statistics
import subprocess
import sys
import time

import torch
from torch import nn

from diffstab.measuring import DeviceSettings, PassSettings, measure
from diffstab.stability import LayerPass, diffeomorphism
from diffstab.stability.layer_pass import FIRST_LOOK

BATCH, SIDE = 8, 224


def resnet():
    from torchvision.models import resnet18

    torch.manual_seed(0)
    return resnet18(weights=None).eval()


def layer_sets(net):
    names = [name for name, _ in net.named_modules() if name]
    blocks = [f"layer{group}.{block}" for group in range(1, 5) for block in range(2)]
    return {"output": [""], "a layer per block (8)": blocks, f"all modules ({len(names)})": names}


def batch_of(place, side=SIDE):
    generator = torch.Generator().manual_seed(place)
    images = torch.rand(BATCH, 3, side // 8, side // 8, generator=generator)
    return nn.functional.interpolate(images, size=side, mode="bilinear")


class Made(torch.utils.data.Dataset):
    """So many images, made when they are asked for."""

    def __init__(self, count, side):
        self.count, self.side = count, side

    def __len__(self):
        return self.count

    def __getitem__(self, number):
        return batch_of(number, self.side)[0], number % 10


def started(net, layers):
    """A pass that has seen its first images, and the seconds that this took."""
    measuring = LayerPass(net, layers=layers, deformations=[diffeomorphism(8.0)])
    start = time.perf_counter()
    for place in range(FIRST_LOOK // BATCH):
        measuring.update(batch_of(place), torch.arange(BATCH) + BATCH * place)
    return measuring, time.perf_counter() - start


def seconds(call, *arguments):
    start = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - start


def times(batches):
    net = resnet()
    passes = {name: started(net, layers) for name, layers in layer_sets(net).items()}
    found = {name: [] for name in ("bare forward", *passes)}
    for place in range(FIRST_LOOK // BATCH, FIRST_LOOK // BATCH + batches):
        images, numbers = batch_of(place), torch.arange(BATCH) + BATCH * place
        stack = torch.cat([images, images + 0.01, images - 0.01])
        with torch.no_grad():
            found["bare forward"].append(seconds(net, stack))
        for name, (measuring, _) in passes.items():
            found[name].append(seconds(measuring.update, images, numbers))
    bare = found["bare forward"]
    print(f"{'':24} {'s a batch':>10} {'ratio':>7}  range         start, batches of the baseline")
    for name, spent in found.items():
        ratios = [one / base for one, base in zip(spent, bare, strict=True)]
        begin = f"{passes[name][1] / statistics.median(bare):10.1f}" if name in passes else ""
        line = f"{statistics.median(spent):10.2f} {statistics.median(ratios):7.2f}"
        print(f"{name:24} {line}  {min(ratios):.2f} to {max(ratios):.2f}  {begin}")


def largest_memory(images, side):
    """Largest memory of this process in MB after a pass over all modules."""
    settings = PassSettings(deltas=("8px",), layers=("*",), bootstrap=100)
    devices = DeviceSettings("cpu", batch_size=None if side == SIDE else BATCH)
    found = measure(resnet(), Made(images, side), settings=settings, devices=devices)
    assert len(found.images) == images
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, default=12, help="Batches that are timed.")
    parser.add_argument("--memory", action="store_true", help="Measure memory, not time.")
    parser.add_argument("--images", type=int, default=0, help="Only print the memory for so many images.")
    parser.add_argument("--side", type=int, default=SIDE, help="Of the images of which memory is measured.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.images:
        print(f"{largest_memory(options.images, options.side):.1f}")
        return
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    print(
        f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {commit.stdout.strip()}, one thread"
    )
    if not options.memory:
        times(options.batches)
        return
    megabytes = []
    for images in (200, 2000):
        command = [sys.executable, "-m", "benchmarks.bench_layers"]
        command += ["--images", str(images), "--side", str(options.side)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
        megabytes.append(float(answer.stdout.split()[-1]))
        print(f"{images} images of {options.side} px: {megabytes[-1]:.0f} MB at most")
    print(f"ratio {megabytes[1] / megabytes[0]:.3f}")


if __name__ == "__main__":
    main()
