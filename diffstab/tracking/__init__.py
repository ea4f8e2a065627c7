"""Weights & Biases in one place: what commands log, a dashboard over it, and the way back into records."""

from diffstab.tracking.observer import WandbObserver, wandb_observers

__all__ = ["WandbObserver", "wandb_observers"]
