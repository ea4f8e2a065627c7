"""The one maker of random generators: each named use of a seed has a stream of its own.

A stream is named by a seed and by what is drawn, `stream(3, "weights", 0)`. Streams of different names are
independent, whatever the seeds: the whole state of the generator is a hash of the name, so two names give one
stream only where SHAKE-256 collides. (`torch.Generator().manual_seed` keeps the low 32 bits of a seed on the CPU, and
numpy's `SeedSequence` takes (3,) and (3, 0) for the same.)
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from diffstab.errors import ArgumentError

SCHEME = 2
"""Version of the project's draws: what a seed stands for. Records carry it, and runs of different ones do not mix.

1: every kind of run had a splitter of its own, some with the same streams for different uses. 2: named streams.
"""

_WORDS = 624  # 32-bit words of the state of MT19937, torch's engine on the CPU
_SEED_LIMIT = 2**63


def stream(seed: int, *use: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Make the generator of one named use of a seed.

    Args:
        seed: Any integer, of any size.
        *use: What is drawn: at least one word, then words or integers, ("weights", 3) say.
        device: Where the draws are made. A stream has other values on another kind of device.

    Returns:
        A generator at the start of its stream: the same name always gives the same draws.

    Raises:
        ArgumentError: The seed is no integer, or the use does not begin with a word.
    """
    digest = hashlib.shake_256(_name(seed, use))
    place = torch.device(device)
    if place.type == "cpu":
        return _twister(np.frombuffer(digest.digest(4 * _WORDS), dtype="<u4"))
    # The engines of other devices (Philox) keep all bits of a seed.
    return torch.Generator(place).manual_seed(int.from_bytes(digest.digest(8), "little") % _SEED_LIMIT)


def integer_seed(seed: int, *use: str | int, below: int = 2**32) -> int:
    """Make an integer for libraries that take one, scikit-learn's `random_state` say.

    Args:
        seed: Any integer, of any size.
        *use: What is drawn, as for `stream`.
        below: Upper bound, excluded; at least 1.

    Returns:
        An integer in [0, below). Different names may share it: with 32 bits after some 10^4 names.

    Raises:
        ArgumentError: As `stream`, or `below` is not positive.
    """
    if below < 1:
        raise ArgumentError("below", "be at least 1", below)
    return int.from_bytes(hashlib.shake_256(_name(seed, use)).digest(32), "little") % below


class NumberedStream:
    """Draws that belong to numbers: those of image 7 are the same whatever is drawn before, beside or after them.

    A counter-based generator, Philox 4x64-10. Its key is a hash of the name; of the four words of its counter the
    second is the number and the third the draw, so each draw of each number has a stream of 2^66 words of its own.
    What comes back lies on the CPU, the same for every device and every cut into batches.

    Args:
        seed: Any integer, of any size.
        *use: What is drawn, as for `stream`.

    Raises:
        ArgumentError: As `stream`.

    Source:
        Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011; `numpy.random.Philox`.
    """

    def __init__(self, seed: int, *use: str | int) -> None:
        self._key = np.frombuffer(hashlib.shake_256(_name(seed, use)).digest(16), dtype="<u8").astype(
            np.uint64
        )

    def normal(
        self,
        numbers: torch.Tensor | Sequence[int],
        shape: Sequence[int],
        *,
        draw: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> torch.Tensor:
        """Draw standard normal values.

        Args:
            numbers: Integers of at least 0, n of them.
            shape: Shape of the values of one number.
            draw: Which draw of each number, at least 0.
            dtype: float64 or float32; they are different draws.

        Returns:
            (n, *shape) on the CPU.

        Raises:
            ArgumentError: A number is negative or no integer.
        """
        places = _places(numbers)
        kind = np.float32 if dtype == torch.float32 else np.float64
        result = np.empty((len(places), *shape), dtype=kind)
        for row, engine in zip(result.reshape(len(places), -1), self._engines(places, draw), strict=True):
            engine.standard_normal(dtype=kind, out=row)
        return torch.from_numpy(result)

    def uniform(
        self, numbers: torch.Tensor | Sequence[int], shape: Sequence[int], *, draw: int = 0
    ) -> torch.Tensor:
        """Draw values in [0, 1), (n, *shape) in float64 on the CPU; arguments and errors as of `normal`."""
        places = _places(numbers)
        result = np.empty((len(places), *shape))
        for row, engine in zip(result.reshape(len(places), -1), self._engines(places, draw), strict=True):
            engine.random(out=row)
        return torch.from_numpy(result)

    def _engines(self, places: list[int], draw: int) -> Iterator[np.random.Generator]:
        """Yield one generator again and again, set to the start of the stream of each number."""
        philox = np.random.Philox(key=self._key)
        engine, state = np.random.Generator(philox), philox.state
        for place in places:
            state["state"]["counter"] = np.array([0, place, draw, 0], dtype=np.uint64)
            philox.state = state
            yield engine


def _places(numbers: torch.Tensor | Sequence[int]) -> list[int]:
    values = torch.as_tensor(numbers)
    if values.is_floating_point() or values.ndim != 1 or (len(values) and int(values.min()) < 0):
        received = f"{values.dtype} of shape {tuple(values.shape)}"
        raise ArgumentError("numbers", "be integers of at least 0, shape (n,)", received)
    return [int(value) for value in values.tolist()]


def _name(seed: int, use: tuple[str | int, ...]) -> bytes:
    """Return the name as bytes, different for different names."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise ArgumentError("seed", "be an integer", repr(seed))
    if not use or not isinstance(use[0], str):
        raise ArgumentError("use", "begin with a word that says what is drawn", repr(use))
    parts = []
    for part in (seed, *use):
        kind, text = ("s", part) if isinstance(part, str) else ("i", str(int(part)))
        encoded = text.encode()
        parts.append(f"{kind}{len(encoded)}:".encode() + encoded)
    return b"".join(parts)


def _twister(words: np.ndarray) -> torch.Generator:
    """Return a CPU generator with these 624 words as its state.

    The layout is torch's own: 8 bytes of seed, two 32-bit integers (words left before the next turn, seeded), 8
    bytes of position, the words as 64-bit integers; the rest holds a saved normal draw, of which there is none.
    """
    generator = torch.Generator()
    state = generator.get_state().numpy().copy()
    state[8:24] = np.frombuffer(struct.pack("<iiQ", 1, 1, 0), dtype=np.uint8)
    state[24 : 24 + 8 * _WORDS] = np.frombuffer(words.astype("<u8").tobytes(), dtype=np.uint8)
    generator.set_state(torch.from_numpy(state))
    return generator
