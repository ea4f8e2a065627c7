"""Public functions on tensors of a device other than the CPU, and draws from generators of either."""

import numpy as np
import pytest
import torch

from diffstab.diffeo import (
    displacement_field,
    draw_coefficients,
    draw_field,
    folded,
    inverse_field,
    moved_points,
    warp,
)
from diffstab.kernels import (
    NTKClassifier,
    NTKRegressor,
    as_predictor,
    kernel_alignment,
    ntk,
    random_feature_kernel,
)
from diffstab.nets import FCN, CentredOutput, Ensemble, Loss
from diffstab.solvers.integrator import FlowSettings
from diffstab.solvers.kernel_flow import fit_kernel_flow
from diffstab.solvers.optimise import OptimiserSettings, make_solver
from diffstab.solvers.sphere import train_sphere
from diffstab.solvers.sphere_net import FLOWS, SphereTraining
from diffstab.solvers.sphere_rules import RULES
from diffstab.solvers.stopping import StopRule
from diffstab.sparsity import (
    activation_atoms,
    alignment,
    dead_neurons,
    dead_share,
    direction_atoms,
    mass,
    nearest_angles_deg,
    neuron_picture,
    principal_axes,
    principal_share,
    sigma_rank,
    sparsity_intervals,
    sparsity_report,
    stable_rank,
)
from diffstab.sphere import (
    ConstantTarget,
    GaussianField,
    GaussianFieldTarget,
    MinNormReLU,
    TeacherTarget,
    ZonalSum,
    estimated_power_per_degree,
    field_averaged_error,
    field_averaged_power,
    power_per_degree,
    uniform_points,
)
from diffstab.stability import (
    LayerPass,
    RelativeStability,
    diffeomorphism,
    draw_pairs,
    fcn_layer_outputs,
    layer_stability,
    measure_stability,
    numbered_pairs,
    paired_difference,
    random_rotation,
    random_scaling,
    random_sphere_rotation,
    random_translation,
    rotate_towards,
    stability_of,
)
from tests.references.elsewhere import DEVICE, Elsewhere, Far, FarGenerator
from tests.references.places import CPU, Place, check_same

FEW = StopRule(max_steps=3)


def _warped(p):
    field = draw_field(6, 8, 8, delta_px=0.5, cutoff=3, generator=p.generator()).to(p.device)
    return warp(p.images(), field)


def _metric(p):
    images, metric = p.images(), RelativeStability()
    net = p.net()
    metric.update(net(images), net(images + 0.1)[None], net(images - 0.1)[None])
    return torch.stack(list(metric.stability()))


def _report(p):
    probes = draw_pairs(p.images(), deform=diffeomorphism(0.3), generator=p.generator())
    return stability_of(p.net(), probes, bootstrap=20, generator=p.generator())


def _passed(net, images):
    """The floor and the spread of a pass over images that lie on the CPU, wherever the net is."""
    with LayerPass(net, deformations=[diffeomorphism(0.3)], floor=True) as measuring:
        measuring.update(images, torch.arange(len(images)))
    sums = measuring.sums()[0, ""]
    return torch.cat([sums.spread, sums.floor[None]])


def _difference(p):
    probes, nets = (
        draw_pairs(p.images(), deform=diffeomorphism(0.3), generator=p.generator()),
        (p.net(), p.net()),
    )
    one, other = (stability_of(net, probes, bootstrap=0, generator=p.generator()) for net in nets)
    return torch.stack(
        list(paired_difference(one, other, bootstrap=20, generator=p.generator()).difference_low)
    )


def _trained(p, **options):
    model = CentredOutput(p.net(dtype=torch.float64))
    x, y = p.normal(8, 64), torch.sign(p.normal(8))
    settings = OptimiserSettings(stop=FEW, **options)
    make_solver(model, Loss("soft_hinge"), settings).run(x, y)
    return model(x)


def _kernel_flow(p):
    x, y = p.normal(8, 5), torch.sign(p.normal(8))
    return fit_kernel_flow(ntk(x), y, loss=Loss("soft_hinge"), settings=FlowSettings(stop=FEW))[0]


def _estimator(estimator, p):
    x, y = p.normal(12, 4), torch.sign(p.normal(12))
    fitted = estimator.fit(x, y)
    return torch.from_numpy(np.asarray(fitted.predict(x)))


def _predictor(p):
    x, y = p.normal(12, 4), p.normal(12)
    found = as_predictor(NTKRegressor(ridge=0.1).fit(x, y))(x)
    assert found.device == p.device
    return found


def _sparsity_intervals(p):
    found = sparsity_intervals(
        p.normal(9, 4), p.normal(1, 9), p.normal(7, 4), generator=p.generator(), resamples=10
    )
    return torch.tensor(list(found[0]), dtype=torch.float64)


def _sparsity(p):
    return torch.tensor(float(sparsity_report(p.normal(9, 4), p.normal(1, 9), p.normal(7, 4)).n_atoms))


SPHERE = SphereTraining(width=6, max_steps=5)

CASES = {
    "draw_field": lambda p: draw_field(2, 8, 8, delta_px=0.5, cutoff=3, generator=p.generator()),
    "draw_coefficients": lambda p: draw_coefficients(2, temperature=1e-3, cutoff=3, generator=p.generator()),
    "displacement_field": lambda p: displacement_field(p.normal(2, 2, 3, 3), 8, 8),
    "warp": _warped,
    "folded": lambda p: folded(p.normal(2, 2, 8, 8) * 0.1),
    "inverse_field": lambda p: inverse_field(p.normal(2, 2, 3, 3) * 1e-3, 8, 8),
    "moved_points": lambda p: moved_points(p.normal(2, 3, 2).abs() + 2, p.normal(2, 2, 3, 3) * 1e-3, (8, 8)),
    "draw_pairs": lambda p: draw_pairs(p.images(), deform=diffeomorphism(0.3), generator=p.generator()).noisy,
    "random_rotation": lambda p: random_rotation(10.0)(p.images(), generator=p.generator()).images,
    "random_translation": lambda p: random_translation(1.0)(p.images(), generator=p.generator()).images,
    "random_sphere_rotation": lambda p: (
        random_sphere_rotation(10.0)(p.images(), generator=p.generator()).images
    ),
    "rotate_towards": lambda p: rotate_towards(p.points(), p.normal(12, 3), angle_deg=10.0),
    "stability_of": lambda p: torch.stack(list(_report(p).estimate)),
    "paired_difference": _difference,
    "RelativeStability": _metric,
    "layer_stability": lambda p: torch.stack(
        list(
            layer_stability(
                net := p.net(), p.images(), fcn_layer_outputs(net), deform=diffeomorphism(0.3), batch_size=4
            )["hidden_1"].estimate
        )
    ),
    "measure_stability": lambda p: torch.stack(
        list(measure_stability(p.net(), p.images(), deform=random_scaling(0.1), floor=True, batch_size=4).low)
    ),
    "LayerPass with images here": lambda p: _passed(p.net(), Place(CPU, CPU).images()),
    "random_scaling": lambda p: random_scaling(0.1)(p.images(), generator=p.generator()).images,
    "circular shifts": lambda p: (
        random_translation(1.0, circular=True)(p.images(), generator=p.generator()).images
    ),
    "numbered_pairs": lambda p: (
        numbered_pairs(p.images(), torch.arange(6), deform=diffeomorphism(0.3), seed=0).noisy
    ),
    "FCN": lambda p: FCN(4, (3,), generator=p.generator()).weights[0].detach(),
    "CentredOutput": lambda p: CentredOutput(p.net())(p.images()).detach(),
    "Ensemble": lambda p: Ensemble([p.net(), p.net()])(p.images()).detach(),
    "tangent": lambda p: p.net().tangent(p.images()).kernel(),
    "ntk": lambda p: ntk(p.normal(5, 4), p.normal(3, 4), depth=2),
    "ntk softplus": lambda p: ntk(p.normal(5, 4), activation="softplus"),
    "random_feature_kernel": lambda p: random_feature_kernel(p.normal(5, 4)),
    "kernel_alignment": lambda p: kernel_alignment(ntk(p.normal(5, 4)), ntk(p.normal(5, 4))),
    "NTKRegressor": lambda p: _estimator(NTKRegressor(ridge=0.1), p),
    "NTKClassifier": lambda p: _estimator(NTKClassifier(C=1.0), p),
    "MinNormReLU": lambda p: _estimator(MinNormReLU(penalty=0.1), p),
    "as_predictor": _predictor,
    "gradient_flow": lambda p: _trained(p),
    "euler": lambda p: _trained(p, name="euler"),
    "adam": lambda p: _trained(p, name="adam"),
    "sgd": lambda p: _trained(p, name="sgd", momentum=0.9),
    "kernel_flow": _kernel_flow,
    **{
        f"train_sphere {rule}": lambda p, rule=rule: (
            train_sphere(p.points(), p.normal(12), SphereTraining(rule=rule, width=6, max_steps=5)).weights
        )
        for rule in (*RULES, *FLOWS)
    },
    "sparsity_report": _sparsity,
    "sparsity_intervals": _sparsity_intervals,
    "activation_atoms": lambda p: activation_atoms(p.normal(9, 4), p.normal(7, 4)).masses,
    "direction_atoms": lambda p: direction_atoms(p.normal(9, 4), angle_deg=40.0).masses,
    "dead_share": lambda p: torch.tensor(dead_share(p.normal(9, 4), p.normal(7, 4))),
    "dead_neurons": lambda p: dead_neurons(p.normal(9, 4), p.normal(7, 4)),
    "nearest_angles_deg": lambda p: nearest_angles_deg(p.normal(9, 4)),
    "alignment": lambda p: torch.tensor(alignment(p.normal(9, 4), p.normal(4))),
    "principal_share": lambda p: torch.tensor(principal_share(p.normal(9, 4))),
    "principal_axes": lambda p: principal_axes(p.normal(9, 4), p.normal(9).abs()),
    "neuron_picture": lambda p: neuron_picture(p.normal(9, 4), p.normal(9).abs()),
    "t-SNE": lambda p: neuron_picture(
        p.normal(9, 4), p.normal(9).abs(), method="tsne", generator=p.generator()
    ),
    "mass": lambda p: mass(p.normal(9, 4), p.normal(1, 9)),
    "sigma_rank": lambda p: torch.tensor(sigma_rank(z := p.normal(9, 4), z.relu()), dtype=torch.float64),
    "stable_rank": lambda p: torch.tensor(stable_rank(p.normal(9, 4))),
    "uniform_points": lambda p: uniform_points(5, 3, generator=p.generator()),
    "GaussianField.sample": lambda p: GaussianField(3, 1.0).sample(p.points(), generator=p.generator()),
    "GaussianField.sample singular": lambda p: GaussianField(2, 4.0).sample(
        torch.cat([q := p.points(20, 2), q]), generator=p.generator()
    ),
    "GaussianField.covariance_matrix": lambda p: GaussianField(3, 1.0).covariance_matrix(p.points()),
    "ConstantTarget": lambda p: ConstantTarget().values(p.points(), generator=p.generator()),
    "GaussianFieldTarget": lambda p: GaussianFieldTarget(1.0).values(p.points(), generator=p.generator()),
    "TeacherTarget": lambda p: TeacherTarget(1.0, "relu", width=4).values(
        p.points(), generator=p.generator()
    ),
    "field_averaged_error": lambda p: (
        field_averaged_error("ntk", GaussianField(3, 1.0), p.points(), p.points()).per_point
    ),
    "field_averaged_power": lambda p: field_averaged_power("ntk", GaussianField(3, 1.0), p.points(), 6),
    "power_per_degree": lambda p: power_per_degree(
        ZonalSum(p.points(), p.normal(12), torch.ones(5, dtype=torch.float64).to(p.device))
    ),
    "estimated_power": lambda p: estimated_power_per_degree(p.points(), p.normal(12), 4).power,
}


@pytest.mark.parametrize("generators", [CPU, DEVICE], ids=["drawn-here", "drawn-there"])
@pytest.mark.parametrize("name", CASES)
def test_a_function_gives_there_what_it_gives_here(name, generators):
    check_same(CASES[name], generators)


def test_the_other_device_keeps_its_tensors_apart():
    with Elsewhere():
        there, here = torch.arange(3.0).to(DEVICE), torch.ones(3)
        assert there.device == DEVICE
        assert (there + 1).sum().device == DEVICE
        assert isinstance(there, Far)
        assert there.cpu().device == CPU
        for mix in (lambda: there + here, lambda: torch.dot(here, there), lambda: here[there.long()]):
            with pytest.raises(RuntimeError, match="on the same device"):
                mix()
        with pytest.raises(TypeError, match="to numpy"):
            there.numpy()
        with pytest.raises(RuntimeError, match="'cpu' device type for generator"):
            torch.randperm(3, generator=FarGenerator())
        with pytest.raises(RuntimeError, match="'cuda' device type for generator"):
            torch.randn(3, generator=torch.Generator(), device=DEVICE)
