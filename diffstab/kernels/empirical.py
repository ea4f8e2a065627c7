"""Tangent kernels of finite networks, and how far they move in training."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from diffstab.errors import ArgumentError, DegenerateError
from diffstab.nets import FCN, CentredOutput, fcn_tangent


def empirical_ntk(net: nn.Module, x: Tensor, y: Tensor | None = None, *, chunk: int = 64) -> Tensor:
    """Tangent kernel of a network at its present weights.

    K(x, y) = sum over parameters p of (d f(x)/d p) (d f(y)/d p), over all parameters that require gradients.
    At most two blocks of `chunk` gradients are held: memory is 2 * chunk * outputs * (number of parameters).
    The gradients of an `FCN` of one output factor into layer inputs and signals and are never formed, which is
    hundreds of times faster. A `CentredOutput` has alpha^2 times the kernel of its net.

    Args:
        net: Any network that treats the points of a batch independently (no batch statistics, no dropout) and
            returns (n,) or (n, outputs); left unchanged.
        x: Points, shape (n, ...), floating point.
        y: Points, shape (m, ...); x itself when None, at half the work.
        chunk: Number of points whose gradients are held at once.

    Returns:
        Shape (n, m) for one output, else (n, m, outputs, outputs); dtype of the parameters. When y is None it is
        exactly symmetric under the exchange of points together with outputs.

    Raises:
        ArgumentError: Nothing to differentiate, points not floating point, not finite or of different shapes,
            or a chunk below 1.

    Source:
        Jacot, Gabriel and Hongler 2018 (arXiv 1806.07572), section 4.
    """
    _check_points("x", x)
    if y is not None:
        _check_points("y", y)
        if y.shape[1:] != x.shape[1:]:
            raise ArgumentError(
                "y", f"hold points of the shape of x, {tuple(x.shape[1:])}", tuple(y.shape[1:])
            )
    if chunk < 1:
        raise ArgumentError("chunk", "be >= 1", chunk)
    if isinstance(net, CentredOutput):
        return net.alpha**2 * empirical_ntk(net.net, x, y, chunk=chunk)
    if isinstance(net, FCN) and net.out_features == 1 and all(w.requires_grad for w in net.weights):
        return _factored_kernel(net, x, y)
    gradients = _gradient_function(net)
    kernel = _own_kernel(gradients, x, chunk) if y is None else _cross_kernel(gradients, x, y, chunk)
    return kernel[:, :, 0, 0] if kernel.shape[-1] == 1 else kernel


def kernel_alignment(first: Tensor, second: Tensor) -> Tensor:
    """Cosine between two kernels as vectors: <A, B> / (|A| |B|), in the Frobenius product.

    It is 1 when one is a positive multiple of the other.

    Args:
        first: Gram matrix, any shape.
        second: Gram matrix of the same shape; y y^T for the alignment of a kernel with a task.

    Returns:
        Scalar in [-1, 1].

    Raises:
        ArgumentError: Different shapes.
        DegenerateError: A kernel is zero.

    Source:
        Cristianini et al. 2001, definition 1.
    """
    if first.shape != second.shape:
        raise ArgumentError("second", f"have the shape of first, {tuple(first.shape)}", tuple(second.shape))
    norms = torch.linalg.vector_norm(first) * torch.linalg.vector_norm(second)
    if not bool(norms > 0):
        raise DegenerateError("The alignment of kernels is undefined: one of them is zero (or not a number).")
    cosine: Tensor = (first * second).sum() / norms
    return cosine


def kernel_drift(initial: nn.Module, trained: nn.Module, x: Tensor, *, chunk: int = 64) -> Tensor:
    """Relative change of the tangent kernel in training: |K_trained - K_initial| / |K_initial|, Frobenius.

    It tends to 0 with the width in the lazy regime and stays of order 1 in the feature regime.

    Args:
        initial: Network at the start.
        trained: The same after training.
        x: Points, shape (n, ...).
        chunk: As in `empirical_ntk`.

    Returns:
        Scalar >= 0.

    Raises:
        ArgumentError: As in `empirical_ntk`.
        DegenerateError: The initial kernel is zero.
    """
    start, end = (empirical_ntk(net, x, chunk=chunk) for net in (initial, trained))
    norm = torch.linalg.vector_norm(start)
    if not bool(norm > 0):
        raise DegenerateError(
            "The drift of the kernel is undefined: the initial kernel is zero (or not a number)."
        )
    drift: Tensor = torch.linalg.vector_norm(end - start) / norm
    return drift


def _check_points(name: str, x: Tensor) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim < 2 or len(x) == 0:
        received = f"{x.dtype} of shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise ArgumentError(name, "be a floating-point tensor of shape (n, ...), n >= 1", received)
    if not bool(x.isfinite().all()):
        raise ArgumentError(name, "be finite", "NaN or infinite entries")


def _gradient_function(net: nn.Module) -> Callable[[Tensor], Tensor]:
    """Function from points (n, ...) to their gradients, shape (n, outputs, parameters)."""
    moving = {name: p.detach() for name, p in net.named_parameters() if p.requires_grad}
    fixed = {name: p.detach() for name, p in net.named_parameters() if not p.requires_grad}
    if not moving:
        raise ArgumentError("net", "have parameters that require gradients", "none")

    def output(parameters: dict[str, Tensor], point: Tensor) -> Tensor:
        result: Tensor = functional_call(net, {**fixed, **parameters}, (point[None],))
        return result.flatten()

    per_point = vmap(jacrev(output), in_dims=(None, 0))

    def gradients(points: Tensor) -> Tensor:
        blocks: dict[str, Tensor] = per_point(moving, points)
        return torch.cat([block.flatten(2) for block in blocks.values()], dim=2)

    return gradients


def _cross_kernel(gradients: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, chunk: int) -> Tensor:
    strips = []
    for points in torch.split(x, chunk):
        left = gradients(points)
        strips.append(
            torch.cat([_products(left, gradients(others)) for others in torch.split(y, chunk)], dim=1)
        )
    return torch.cat(strips)


def _own_kernel(gradients: Callable[[Tensor], Tensor], x: Tensor, chunk: int) -> Tensor:
    """Kernel of the points with themselves; blocks below the diagonal are mirrored."""
    chunks = torch.split(x, chunk)
    blocks: list[list[Tensor]] = []
    for row, points in enumerate(chunks):
        left = gradients(points)
        diagonal = _products(left, left)
        mirrored = [blocks[above][row].permute(1, 0, 3, 2) for above in range(row)]
        computed = [_products(left, gradients(others)) for others in chunks[row + 1 :]]
        blocks.append([*mirrored, (diagonal + diagonal.permute(1, 0, 3, 2)) / 2, *computed])
    return torch.cat([torch.cat(strip, dim=1) for strip in blocks])


def _products(left: Tensor, right: Tensor) -> Tensor:
    """Scalar products of gradients (n, outputs, parameters) and (m, ...), shape (n, m, outputs, outputs)."""
    return torch.einsum("iap,jbp->ijab", left, right)


@torch.no_grad()
def _factored_kernel(net: FCN, x: Tensor, y: Tensor | None) -> Tensor:
    """Kernel of a fully connected network of one output, from its tangent's factors."""
    tangents = [
        fcn_tangent(list(net.weights), net.flatten(points), scales=net.scales, activation=net.activation)
        for points in ([x] if y is None else [x, y])
    ]
    kernel = tangents[0].kernel(tangents[-1])
    return (kernel + kernel.T) / 2 if y is None else kernel
