"""One process of a group that shares a pass over numbered images: rank, world size, rendezvous file, result, options.

Options: number type, batch size, workers of the loader. Each rank writes D, G, R and the lower end of D of each layer.
"""

import os
import sys

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from diffstab.stability import LayerPass, diffeomorphism, gathered, layer_intervals

COUNT = 70


class Images(Dataset):
    """Images made from their numbers."""

    def __init__(self, dtype, rank=0, processes=1):
        self.dtype, self.numbers = dtype, range(rank, COUNT, processes)

    def __len__(self):
        return len(self.numbers)

    def __getitem__(self, place):
        number = self.numbers[place]
        image = torch.rand(1, 10, 10, generator=torch.Generator().manual_seed(number), dtype=torch.float64)
        return image.to(self.dtype), number


def net(dtype):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(256, 3)
        return nn.Sequential(*parts).to(dtype)


def measured(dtype, batch_size, workers, rank=0, processes=1):
    loader = DataLoader(Images(dtype, rank, processes), batch_size=batch_size, num_workers=workers)
    # All processes count from the mean of the same images.
    look = torch.stack([Images(dtype)[number][0] for number in range(16)])
    options = {"layers": ["0", "1", ""], "deformations": [diffeomorphism(0.3)], "look": look}
    with torch.random.fork_rng(), LayerPass(net(dtype), **options) as measuring:
        for images, numbers in loader:
            measuring.update(images, numbers)
    found = gathered(measuring.result())
    intervals = layer_intervals(found.sums, bootstrap=50, generator=torch.Generator().manual_seed(0))
    return torch.tensor(
        [
            [*[float(value) for value in sums.stability()[:3]], float(intervals[key].low.deformation)]
            for key, sums in found.sums.items()
        ],
        dtype=torch.float64,
    )


def main(rank, processes, rendezvous, result, dtype, batch_size, workers):
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    rank, processes = int(rank), int(processes)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=processes
    )
    found = measured(getattr(torch, dtype), int(batch_size), int(workers), rank, processes)
    torch.save(found, f"{result}.{rank}")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
