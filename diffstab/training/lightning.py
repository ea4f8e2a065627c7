"""The Lightning command line of the project: seeds, resolved configurations, final numbers."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from copy import copy
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
import torch
from jsonargparse import ArgumentError as ParseError
from jsonargparse.typing import register_type
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from pytorch_lightning.loggers import CSVLogger

from diffstab.errors import ArgumentError, DiffstabError
from diffstab.nets.initial import initial_weights
from diffstab.results import flatten, parse_yaml, write_atomically
from diffstab.shipped import with_configs
from diffstab.training.callbacks import FinalCheckpoint, run_folder
from diffstab.training.checkpoints import check_checkpoint
from diffstab.training.config_files import read_arguments, strict_reading, told
from diffstab.training.devices import told_in_a_line
from diffstab.training.processes import check_one_process
from diffstab.training.task import Task, at_least_single
from diffstab.training.terminal import results_text, show_progress, without_remarks

SUBCOMMANDS = ("fit", "validate", "test", "predict")

TRAINER_DEFAULTS = {
    "max_epochs": 10_000,  # the stop rule ends a run, not the number of epochs
    "log_every_n_steps": 1,  # an epoch of the full batch is one step
    "num_sanity_val_steps": 0,  # with xi = 1 there is nothing to measure before the first step
    "devices": "1",  # several processes are asked for
    "callbacks": [FinalCheckpoint()],
}

CommandLine = TypeVar("CommandLine", bound="ProjectCLI")

_LARGEST_SEED = 2**32 - 1
"""What numpy, which Lightning seeds too, can take."""

_RAISING = {"exit_on_error": False}


class SaveResolvedConfig(SaveConfigCallback):
    """Keeps the resolved configuration: config.yaml in the run's own folder, flat and once in the loggers.

    The logged keys are dotted and equal to the flags of the command line.
    """

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the file and log the flat configuration; called once, on the first process."""
        text = self.parser.dump(self.config, skip_unset=False)
        folder = run_folder(trainer)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "config.yaml", text.encode())
        self.log_config(trainer, parse_yaml(text))

    def log_config(self, trainer: Trainer, config: Mapping[str, Any]) -> None:
        """Log the nested configuration flat."""
        for logger in trainer.loggers:
            logger.log_hyperparams(flatten(config))


class ProjectCLI(LightningCLI):
    """LightningCLI of the project's tasks: seed 0 unless told otherwise, and the final numbers after a fit.

    Attributes:
        config_callback: Keeps the resolved configuration of a run.
    """

    config_callback: ClassVar[type[SaveResolvedConfig]] = SaveResolvedConfig

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Give a task the options that only its data know, named in its `linked`."""
        for source, target in getattr(self._model_class, "linked", {}).items():
            parser.link_arguments(source, target)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the given arguments, whatever the arguments of the process.

        Raises:
            ArgumentError: If an option or a value is wrong.
        """
        try:
            self.config = parser.parse_args(args)
        except (ParseError, UnicodeError) as error:
            condition = f"fit the options of diffstab {args[0]}"
            raise ArgumentError("configuration", condition, told(error)) from error

        seed = self.config[args[0]].get("seed_everything")
        if not isinstance(seed, bool) and isinstance(seed, int) and not 0 <= seed <= _LARGEST_SEED:
            raise ArgumentError("seed_everything", f"lie between 0 and {_LARGEST_SEED}", seed)

    def instantiate_classes(self) -> None:
        """Build trainer, model and data; the initial net is that of `seed_everything`, as in a comparison.

        Raises:
            ArgumentError: If one of them refuses a value.
        """
        seed = self._get(self.config, "seed_everything")
        try:
            with ExitStack() as stack:
                if seed is not False and seed is not None:
                    stack.enter_context(initial_weights(seed))
                super().instantiate_classes()
        except ValueError as error:
            # The class's own error, in jsonargparse's words; any other is not of a value.
            if isinstance(error, DiffstabError) or "Does not validate against" not in str(error):
                raise
            condition = f"fit the options of diffstab {self.subcommand}"
            raise ArgumentError("configuration", condition, told(error)) from error

    def _parse_ckpt_path(self) -> None:
        """Leave the configuration as it is: Lightning would replace options by those in the checkpoint, unsaid."""

    def _add_configure_optimizers_method_to_model(self, subcommand: str | None) -> None:
        """Let `optimizer` and `lr_scheduler`, where they are given, take the place of the task's own."""
        with warnings.catch_warnings():
            # That is what they are for.
            warnings.filterwarnings("ignore", message=".*configure_optimizers` will be overridden")
            super()._add_configure_optimizers_method_to_model(subcommand)

    def before_instantiate_classes(self) -> None:
        """Read checkpoints as plain tensors."""
        if self.config[self.subcommand].get("weights_only") is None:
            self.config[self.subcommand]["weights_only"] = True

    def instantiate_trainer(self, **options: Any) -> Trainer:
        """Build the trainer, which logs to results/fit/version_* unless a logger is asked for.

        Raises:
            ArgumentError: If this machine has not what it takes, its options do not fit together, or the task cannot
                run under it; so too if a checkpoint is not one of the model.
            DataError: If the checkpoint is missing or damaged.
        """
        # Not as the parser's default: jsonargparse would carry its name and folder over to other loggers.
        if self._get(self.config_init, "trainer")["logger"] in (None, True):
            options["logger"] = CSVLogger("results", name="fit")
        # A copy: Lightning adds its own to the list.
        asked = copy(self._get(self.config_init, "trainer")["callbacks"]) or []
        with told_in_a_line(ValueError, ImportError, RuntimeError, TypeError):
            trainer = super().instantiate_trainer(**options)
        show_progress(trainer, asked if isinstance(asked, list) else [asked])
        stage = str(self.subcommand)
        # Here, before any process is started; the task looks again in each.
        if hasattr(self.model, "check_trainer"):
            self.model.check_trainer(trainer, stage)
        check_checkpoint(
            self._get(self.config, "ckpt_path"),
            self.model,
            resume=stage == "fit",
            weights_only=self._get(self.config, "weights_only"),
        )
        return trainer

    def before_predict(self) -> None:
        """Refuse to predict by parts.

        Raises:
            ArgumentError: If there are several processes, each of which would have a part of the images.
        """
        check_one_process(self.trainer, what="predict")

    def after_fit(self) -> None:
        """Measure the predictor that training ended with."""
        self.validate(model=self.model, datamodule=self.datamodule, weights_only=True)

    def validate(self, **arguments: Any) -> None:
        """Measure on the validation images, and print the numbers."""
        self._evaluate(self.trainer.validate, **arguments)

    def test(self, **arguments: Any) -> None:
        """Measure on the test images, and print the numbers."""
        self._evaluate(self.trainer.test, **arguments)

    def _evaluate(self, measure: Callable[..., Any], *, verbose: bool = True, **arguments: Any) -> None:
        results = measure(verbose=False, **arguments)
        if verbose and self.trainer.is_global_zero:
            print(results_text(results))

    def predict(self, **arguments: Any) -> None:
        """Write the outputs F on the test images, in their order, to predictions.npz of the run's folder."""
        outputs = torch.cat(cast("list[torch.Tensor]", self.trainer.predict(**arguments)))
        buffer = io.BytesIO()
        np.savez_compressed(buffer, outputs=at_least_single(outputs).cpu().numpy())  # numpy has no bfloat16
        folder = run_folder(self.trainer)
        folder.mkdir(parents=True, exist_ok=True)
        print(write_atomically(folder / "predictions.npz", buffer.getvalue()))


def run_lightning(
    args: list[str],
    data_class: type[LightningDataModule],
    *,
    task_class: type[LightningModule] = Task,
    subclass_mode_data: bool = True,
    program: str = "diffstab",
    command_line: type[CommandLine] = ProjectCLI,  # type: ignore[assignment]
    **options: Any,
) -> CommandLine:
    """Run a subcommand of LightningCLI.

    Args:
        args: Subcommand (fit, validate, test or predict) and its options.
        data_class: Base class of the data modules.
        task_class: Class of the task.
        subclass_mode_data: Whether a configuration names the class of its data, or `data_class` is it.
        program: What the command line is called in its help.
        command_line: What parses and runs it.
        **options: Further arguments of that.

    Returns:
        The command line after the run.

    Raises:
        ArgumentError: If an option or a value is wrong.
        SystemExit: After --help.
    """
    args = read_arguments(with_configs(args))
    register_type(torch.dtype, _dtype_name, _dtype, fail_already_registered=False)
    with without_remarks(), told_in_a_line():
        return command_line(
            task_class,
            data_class,
            subclass_mode_data=subclass_mode_data,
            save_config_callback=command_line.config_callback,
            save_config_kwargs={"save_to_log_dir": False},
            seed_everything_default=0,
            trainer_defaults=TRAINER_DEFAULTS,
            auto_configure_optimizers=task_class is Task,
            load_from_checkpoint_support=False,
            parser_kwargs={
                "prog": program,
                "parser_mode": strict_reading(),
                **_RAISING,
                **{name: dict(_RAISING) for name in SUBCOMMANDS},
            },
            args=args,
            **options,
        )


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise ArgumentError("dtype", "name a torch type, as float32 or float64", repr(name))
    return dtype
