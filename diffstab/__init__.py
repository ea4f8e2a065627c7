"""How stable a predictor of images is to small deformations relative to noise, and why."""

__version__ = "0.1.0"
