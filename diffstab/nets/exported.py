"""Models in files that need no code of their own: torch.export, TorchScript, ONNX."""

from __future__ import annotations

import hashlib
import warnings
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from diffstab.errors import ArgumentError, DataError
from diffstab.extras import require
from diffstab.nets.weights import weights_hash

_PROGRAM = "Save it by torch.export.save."


class ExportedModel(NamedTuple):
    """A model out of a file.

    Attributes:
        module: It, in eval mode.
        kind: "torch.export", "TorchScript" or "ONNX".
        weights_hash: Hash of its weights.
        has_layers: Whether its layers can be measured.
        input_size: Height and width of its images, where they are fixed.
        batch_size: Number of images that it takes at once, where that is fixed.
    """

    module: nn.Module
    kind: str
    weights_hash: str
    has_layers: bool
    input_size: tuple[int, int] | None = None
    batch_size: int | None = None


def read_model_file(path: str | Path) -> ExportedModel:
    """Read a model from a file of torch.export (.pt2), TorchScript or ONNX (.onnx).

    Raises:
        DataError: If there is no such file, or it is damaged or of another kind.
        ArgumentError: If it is ONNX and onnxruntime is not installed.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise DataError("There is no such model file", path, "Look at the name and the folder.")
    if path.suffix == ".onnx":
        return _onnx(path)
    names = _entries(path)
    if path.suffix == ".pt2" or any(
        name.endswith(("/serialized_exported_program.json", "models/model.json")) for name in names
    ):
        return _program(path)
    if any("/code/" in name for name in names):
        return _script(path)
    way_out = "Weights alone need their net: package.module:Class as the model, and this file as its weights."
    raise DataError("The file is no model of torch.export (.pt2), TorchScript or ONNX (.onnx)", path, way_out)


class InParts(nn.Module):
    """A model of a fixed number of images, called with any number: in parts, the last one filled up by its first image.

    Args:
        model: Takes `size` images.
        size: Number of images.
    """

    def __init__(self, model: nn.Module, size: int) -> None:
        super().__init__()
        self.model, self.size = model, size

    def forward(self, images: Tensor) -> Any:
        """Return the outputs (n, ...)."""
        outputs = []
        for part in torch.split(images, self.size):
            missing = self.size - len(part)
            output = self.model(
                torch.cat([part, part[:1].expand(missing, *part.shape[1:])]) if missing else part
            )
            if not isinstance(output, Tensor):
                way_out = "Export the model with a dynamic number of images."
                received = f"{type(output).__name__} from a model of {self.size} images at once"
                raise ArgumentError("output", "be one tensor", received, way_out)
            outputs.append(output[: len(part)])
        return torch.cat(outputs)


class OnnxModel(nn.Module):
    """A model that onnxruntime runs, on the CPU; images and output are copied to and from it.

    Args:
        path: File.
        session: An `onnxruntime.InferenceSession` of it.
    """

    def __init__(self, path: Path, session: Any) -> None:
        super().__init__()
        self.path, self.session = path, session
        self.input = session.get_inputs()[0]
        self.names = [output.name for output in session.get_outputs()]

    def forward(self, images: Tensor) -> Any:
        """Return the output for images (n, ...), or a dictionary of several."""
        dtype = {"tensor(double)": torch.float64, "tensor(float16)": torch.float16}.get(
            self.input.type, torch.float32
        )
        values = self.session.run(None, {self.input.name: images.detach().to("cpu", dtype).numpy()})
        outputs = [torch.from_numpy(value).to(images.device) for value in values]
        return outputs[0] if len(outputs) == 1 else dict(zip(self.names, outputs))

    def __reduce__(self) -> tuple[Any, ...]:
        """Read the file anew in another process."""
        return _onnx_module, (self.path,)


def _program(path: Path) -> ExportedModel:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.load(path)
            module = torch.export.unflatten(program)
    # What torch raises for a file that is none depends on its content.
    except Exception as error:
        raise DataError("The file is damaged, or none of torch.export", path, _PROGRAM) from error
    sides = _program_sides(program)
    return _finished(module, "torch.export", weights_hash(program.state_dict), sides, has_layers=True)


def _program_sides(program: Any) -> list[int | None]:
    """Return the sides of the images, None for those that may vary."""
    names = set(program.graph_signature.user_inputs)
    values = [
        node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in names
    ]
    tensors = [value for value in values if isinstance(value, Tensor)]
    if len(tensors) != 1:
        raise ArgumentError("model", "take one tensor of images", f"{len(tensors)} tensors", _PROGRAM)
    return [side if isinstance(side, int) else None for side in tensors[0].shape]


def _script(path: Path) -> ExportedModel:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module: nn.Module = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    # RuntimeError with C++ internals, mostly.
    except Exception as error:
        raise DataError("The file is damaged, or no TorchScript", path, "Save it again.") from error
    return _finished(module, "TorchScript", weights_hash(module.state_dict()), [None] * 4, has_layers=False)


def _onnx(path: Path) -> ExportedModel:
    module = _onnx_module(path)
    sides = [side if isinstance(side, int) else None for side in module.input.shape]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return _finished(module, "ONNX", digest, sides, has_layers=False)


def _onnx_module(path: Path) -> OnnxModel:
    require("onnxruntime", "to run ONNX")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    # Its errors are of a module without public names.
    except Exception as error:
        raise DataError("The file is damaged, or no ONNX", path, "Export it again.") from error
    if len(session.get_inputs()) != 1:
        raise ArgumentError("model", "take one tensor of images", f"{len(session.get_inputs())} inputs")
    return OnnxModel(path, session)


def _finished(
    module: nn.Module, kind: str, digest: str, sides: list[int | None], *, has_layers: bool
) -> ExportedModel:
    fixed = sides[0] if sides else None
    size = (sides[2], sides[3]) if len(sides) == 4 else (None, None)
    height, width = size
    return ExportedModel(
        module if fixed is None else InParts(module, fixed),
        kind,
        digest,
        has_layers and fixed is None,
        None if height is None or width is None else (height, width),
        fixed,
    )


def _entries(path: Path) -> list[str]:
    if not zipfile.is_zipfile(path):
        return []
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()
