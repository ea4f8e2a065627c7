"""Further seeds of single sizes: small training sets vary most and cost least."""

from collections.abc import Mapping, Sequence

from diffstab.errors import ArgumentError


def check_more_seeds(
    more: Mapping[int, Sequence[int]], *, sizes: Sequence[int], seeds: Sequence[int]
) -> None:
    """Refuse further seeds that no size asks for.

    Args:
        more: Further seeds by the size n_train.
        sizes: All sizes.
        seeds: Seeds of every size.

    Raises:
        ArgumentError: A size is unknown, or a seed is negative or there twice.
    """
    for size, further in more.items():
        if size not in sizes:
            raise ArgumentError("more_seeds", "name sizes of n_train", size)
        if len({*seeds, *further}) < len(seeds) + len(further) or min(further, default=0) < 0:
            way_out = "Seeds are at least 0, each once and none of those in seeds."
            raise ArgumentError(f"more_seeds.{size}", "hold further seeds", further, way_out)


def plain_more_seeds(more: Mapping[int, Sequence[int]]) -> dict[str, list[int]]:
    """Return them with the keys that a configuration has."""
    return {str(size): list(further) for size, further in more.items()}
