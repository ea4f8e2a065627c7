"""Weights & Biases in one place: what commands log, a dashboard over it, and the way back into records."""

from diffstab.tracking.observer import WandbObserver

__all__ = ["WandbObserver"]
