"""A device that is not there: tensors that lie on the CPU, say `cuda:0`, and do not mix with those of the CPU.

Inside `Elsewhere()` a tensor that was moved to `DEVICE` computes as on the CPU, but, as on a real GPU, an operation on
it and on a tensor of the CPU (not a 0-dim one) raises, so does `numpy()`, and a draw wants its generator and its
result on one device. Nothing is known of kernels, only of places.
"""

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("cuda", 0)
PROPERTIES = {
    torch.Tensor.device.__get__: DEVICE,
    torch.Tensor.is_cuda.__get__: True,
    torch.Tensor.is_cpu.__get__: False,
}
COPIES = {torch.Tensor.copy_, torch.Tensor.cpu, torch.Tensor.to}
"""These take tensors of both places."""
LEAVING = {torch.Tensor.numpy, torch.Tensor.__array__, torch.from_numpy}
INDEXING = {torch.Tensor.__getitem__, torch.Tensor.__setitem__}


class Far(torch.Tensor):
    """A tensor on the other device."""


class FarGenerator(torch.Generator):
    """A generator on the other device; it draws what the one of the CPU would."""

    @property
    def device(self):
        return DEVICE


class Elsewhere(TorchFunctionMode):
    """Keeps tensors of two devices apart."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        leaves = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, torch.Tensor)]
        far = [leaf for leaf in leaves if isinstance(leaf, Far)]
        if func in PROPERTIES and far:
            return PROPERTIES[func]
        if func in LEAVING and far:
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        if func is torch.Tensor.__deepcopy__ and far:
            return _copied(*args)
        self._check_places(func, args, leaves, far)
        where, args, kwargs = self._destination(func, args, kwargs, far)
        self._check_generator(kwargs.get("generator"), where)
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **kwargs)
        if isinstance(result, torch.Size):
            return result
        kind = Far if where == DEVICE else torch.Tensor
        return tree_map(lambda leaf: _as(leaf, kind), result)

    @staticmethod
    def _check_places(func, args, leaves, far):
        near = [leaf for leaf in leaves if not isinstance(leaf, Far)]
        with torch._C.DisableTorchFunctionSubclass():
            sizes = [leaf.dim() for leaf in near]
        if func in COPIES or not far or not any(sizes):
            return
        if func in INDEXING and isinstance(
            args[0], Far
        ):  # indices may lie on the CPU, what is written may not
            written = args[2:] if len(args) > 2 else ()
            if not any(
                isinstance(one, torch.Tensor) and not isinstance(one, Far) and one.dim() for one in written
            ):
                return
        raise RuntimeError(
            f"Expected all tensors to be on the same device: {getattr(func, '__name__', func)}"
        )

    @staticmethod
    def _destination(func, args, kwargs, far):
        """Where the result lies, and the arguments without that."""
        if func is torch.Tensor.cpu:
            return torch.device("cpu"), args, kwargs
        if func is torch.Tensor.to and len(args) > 1 and isinstance(args[1], torch.Tensor):
            return (DEVICE if isinstance(args[1], Far) else torch.device("cpu")), args, kwargs
        asked = kwargs.pop("device", None)
        if func is torch.Tensor.to and len(args) > 1 and isinstance(args[1], str | torch.device):
            asked, args = args[1], (args[0], torch.device("cpu"), *args[2:])
        if asked is not None:
            return torch.device(asked) if torch.device(asked).type == "cpu" else DEVICE, args, kwargs
        if func in (torch.Tensor.copy_,):
            return (DEVICE if isinstance(args[0], Far) else torch.device("cpu")), args, kwargs
        return (DEVICE if far else torch.device("cpu")), args, kwargs

    @staticmethod
    def _check_generator(generator, where):
        if generator is not None and generator.device.type != where.type:
            raise RuntimeError(
                f"Expected a '{where.type}' device type for generator but found '{generator.device.type}'"
            )


def _as(leaf, kind):
    """The tensor as one of the place where the result lies; parameters and others keep being what they are."""
    if not isinstance(leaf, torch.Tensor) or isinstance(leaf, torch.nn.Parameter) or type(leaf) is kind:
        return leaf
    with torch._C.DisableTorchFunctionSubclass():
        return leaf.as_subclass(kind)


def _copied(tensor, memo):
    """A deep copy, which torch makes of its own kinds of tensors only."""
    with torch._C.DisableTorchFunctionSubclass():
        copy = tensor.detach().clone().as_subclass(Far).requires_grad_(tensor.requires_grad)
    if isinstance(tensor, torch.nn.Parameter):
        copy._is_param = True
    memo[id(tensor)] = copy
    return copy


def moved(module):
    """The module with its parameters and buffers on the other device, as `module.to(DEVICE)` leaves it."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = torch.nn.Parameter(parameter.detach().as_subclass(Far))
        for name, buffer in part._buffers.items():
            part._buffers[name] = None if buffer is None else buffer.as_subclass(Far)
    return module
