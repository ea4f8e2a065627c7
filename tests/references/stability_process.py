"""One process of a group that shares a RelativeStability: rank, world size, rendezvous file, data and result."""

import os
import sys

import torch

from diffstab.stability import RelativeStability


def main(rank, world_size, rendezvous, data, result):
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=int(rank), world_size=int(world_size)
    )
    outputs = torch.load(data, weights_only=True)
    shared, lopsided = RelativeStability(), RelativeStability()
    for index, batch in enumerate(zip(*[part.split(4) for part in outputs], strict=True)):
        if index % int(world_size) == int(rank):
            shared.update(*batch)
        if rank == "0":
            lopsided.update(*batch)
    computed = [list(shared.stability()), list(lopsided.stability()), shared.compute(), lopsided.compute()]
    torch.save(computed, f"{result}.{rank}")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
