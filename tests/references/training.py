"""Slow, obvious training: plain Euler steps of autograd gradients."""

import torch

SILENT = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
"""Of a trainer that writes and shows nothing."""


def autograd_euler(model, loss, x, y, *, time, steps):
    """Integrate dW/dt = -grad L over a time by Euler steps of one size, in place."""
    parameters = list(model.net.parameters())
    for _ in range(steps):
        gradient = torch.autograd.grad(loss(model(x), y), parameters)
        with torch.no_grad():
            for parameter, slope in zip(parameters, gradient):
                parameter -= time / steps * slope
    return model
