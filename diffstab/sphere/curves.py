"""Exponents of learning curves eps(n) ~ n^-beta that theory predicts."""

from diffstab.errors import ArgumentError

DECAYS = {"ntk": 1, "random_features": 3}
"""What the exponent of a kernel's eigenvalues has beyond d - 1: lambda_k ~ k^-((d - 1) + this)."""

_NEURON_DECAY = 3
"""Square of the coefficients of a ReLU neuron: phi_k^2 ~ k^-((d - 1) + 3)."""


def predicted_exponent(dimension: int, smoothness: float, *, regime: str, kernel: str = "ntk") -> float:
    """Exponent beta of the test error n^-beta on the sphere S^(d-1).

    Lazy, a kernel of eigenvalues lambda_k ~ k^-a:  beta = min(2 a, 2 nu) / (d - 1),  with a = (d - 1) + 1 for the
    tangent kernel (a kink |theta| at angle 0) and (d - 1) + 3 for random features (|theta|^3).
    Feature, ReLU neurons:  beta = min((d - 1) + 3, 2 nu) / (d - 1).

    Both follow from one sum over the modes above k_c ~ n^(1/(d-1)): the predictor f = sum_j g_j kappa(x . x_j) has
    coefficients of n terms of random sign there, E[g_kl^2] ~ 1/n, so that its error is
    (1/n) sum_(k > k_c) N_k lambda_k^2 ~ n^(-2 a / (d - 1)) (phi_k in place of lambda_k for neurons), and that of the
    target's own modes is sum_(k > k_c) N_k c_k ~ n^(-2 nu / (d - 1)).

    Args:
        dimension: d, at least 2.
        smoothness: nu of the target, positive; infinity for a constant.
        regime: "lazy" or "feature".
        kernel: Of the lazy regime: "ntk" or "random_features".

    Returns:
        beta.

    Raises:
        ArgumentError: A value is out of range, or a name is unknown.

    Source:
        Petrini et al. 2022 (arXiv 2206.12314), regression on the sphere.
    """
    if dimension < 2:
        raise ArgumentError("dimension", "be at least 2", dimension)
    if not smoothness > 0:
        raise ArgumentError("smoothness", "be positive", smoothness)
    circle = dimension - 1
    if regime == "feature":
        saturation = circle + _NEURON_DECAY
    elif regime == "lazy" and kernel in DECAYS:
        saturation = 2 * (circle + DECAYS[kernel])
    elif regime == "lazy":
        raise ArgumentError("kernel", f"be one of {', '.join(DECAYS)}", repr(kernel))
    else:
        raise ArgumentError("regime", "be lazy or feature", repr(regime))
    return min(saturation, 2 * smoothness) / circle
