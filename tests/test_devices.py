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
from diffstab.l2 import (
    FrankWolfeSettings,
    Inverse,
    L2Problem,
    balance,
    class_separation,
    constrained_forces,
    constraint_violation,
    covariance_loss,
    covariances_of,
    draw_weights,
    factorise,
    forward,
    minimise_covariances,
    plateau_start,
    principal_planes,
    project,
    rank_bounds,
    reduce_rows,
    reduced_inputs,
    representation_cost,
    representation_loss,
    shrink,
    stationarity,
    train_representations,
    train_shrinking,
    train_widths,
    weight_loss,
    weights_of,
    widen,
)
from diffstab.l2.descent import DescentSettings
from diffstab.l2.projected import ProjectedSettings
from diffstab.l2.prune import prune
from diffstab.nets import FCN, CentredOutput, Ensemble, Loss
from diffstab.solvers.integrator import FlowSettings
from diffstab.solvers.kernel_flow import fit_kernel_flow
from diffstab.solvers.optimise import OptimiserSettings, make_solver
from diffstab.solvers.sphere import SphereTraining, train_sphere
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
from tests.references.elsewhere import DEVICE, Elsewhere, Far, FarGenerator, moved

CPU = torch.device("cpu")
FEW = StopRule(max_steps=3)


class Place:
    """Inputs of one size and seed, on a device, and a generator of its own device."""

    def __init__(self, device, generator_device):
        self.device, self.generator_device = device, generator_device
        self._source = torch.Generator().manual_seed(1)

    def normal(self, *shape, dtype=torch.float64):
        return torch.randn(*shape, generator=self._source, dtype=dtype).to(self.device)

    def images(self):
        return self.normal(6, 1, 8, 8, dtype=torch.float32)

    def points(self, count=12, dimension=3):
        points = torch.randn(count, dimension, generator=self._source, dtype=torch.float64)
        return (points / points.norm(dim=1, keepdim=True)).to(self.device)

    def generator(self):
        return (FarGenerator if self.generator_device == DEVICE else torch.Generator)().manual_seed(2)

    def net(self, inputs=64, dtype=torch.float32):
        net = FCN(inputs, (5,), activation="relu", generator=torch.Generator().manual_seed(3), dtype=dtype)
        return moved(net) if self.device == DEVICE else net

    def problem(self, **options):
        inputs, targets = self.normal(3, 6), self.normal(2, 6)
        return L2Problem(inputs, targets, **({"penalty": 1e-2, "depth": 2, "bias": 0.0} | options))

    def weights(self, problem):
        return draw_weights(problem, 5, generator=torch.Generator().manual_seed(4))


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


def _pair(p, call):
    problem = p.problem()
    z = forward(problem, p.weights(problem))
    return call(problem, z[0], covariances_of(problem, z)[0], p.generator())


def _of_net(call, **options):
    def case(p):
        problem = p.problem(**options)
        return call(problem, p.weights(problem))

    return case


QUICK = DescentSettings(adam_steps=5, finish_steps=5)
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
        for rule in ("projected_gd", "path_norm", "weight_decay", "conic", "alpha_trick")
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
    "draw_weights": lambda p: draw_weights(p.problem(), 4, generator=p.generator())[0],
    "forward": _of_net(lambda problem, weights: forward(problem, weights)[-1]),
    "weight_loss": _of_net(weight_loss),
    "representation_loss": _of_net(
        lambda problem, weights: representation_loss(problem, forward(problem, weights))
    ),
    "covariance_loss": _of_net(
        lambda problem, weights: covariance_loss(
            problem, covariances_of(problem, z := forward(problem, weights)), z[-1]
        )
    ),
    "weights_of": _of_net(lambda problem, weights: weights_of(problem, forward(problem, weights))[0]),
    "constraint_violation": _of_net(
        lambda problem, weights: constraint_violation(problem, forward(problem, weights))
    ),
    "project": _of_net(lambda problem, weights: project(problem, forward(problem, weights))[0]),
    "constrained_forces": _of_net(
        lambda problem, weights: constrained_forces(problem, forward(problem, weights), inverse=Inverse())[0][
            0
        ]
    ),
    "stationarity": _of_net(
        lambda problem, weights: torch.tensor(float(stationarity(problem, weights).relative))
    ),
    "widen": _of_net(lambda problem, weights: widen(problem, weights, 8)[0]),
    "balance": _of_net(lambda problem, weights: balance(problem, weights)[0]),
    "shrink": _of_net(lambda problem, weights: shrink(problem, weights, 3)[0]),
    "prune": _of_net(lambda problem, weights: prune(problem, weights, angle_deg=20.0).weights[0]),
    "train_widths": lambda p: train_widths(p.problem(), [2, 3], restarts=2, seed=0, settings=QUICK)[
        0
    ].weights[0],
    "train_shrinking": lambda p: train_shrinking(p.problem(), [3, 2], restarts=2, seed=0, settings=QUICK)[
        0
    ].weights[0],
    "representation_cost": lambda p: representation_cost(
        p.problem(penalty=0.0), [7], restarts=1, seed=0, settings=QUICK
    )[0].weights[0],
    "train_representations": lambda p: train_representations(
        p.problem(), [3], restarts=2, seed=0, settings=ProjectedSettings(steps=5, projected_steps=3)
    )[0].weights[0],
    "minimise_covariances": lambda p: torch.tensor(
        minimise_covariances(p.problem(), generator=p.generator(), settings=FrankWolfeSettings(rounds=2)).loss
    ),
    "minimise_covariances searched": lambda p: torch.tensor(
        minimise_covariances(
            p.problem(bias=0.5, depth=3),
            generator=p.generator(),
            settings=FrankWolfeSettings(rounds=1, starts=9, polish_steps=5, restarts=1),
        ).loss
    ),
    "factorise": lambda p: _pair(
        p,
        lambda problem, z, pair, g: (
            factorise(problem, pair, 12, restarts=3, tolerance=1e-4, generator=g).abs().sum()
        ),
    ),
    "rank_bounds": lambda p: _pair(
        p,
        lambda problem, z, pair, g: torch.tensor(
            float(rank_bounds(problem, pair, representations=z, generator=g).upper)
        ),
    ),
    "reduce_rows": lambda p: _pair(p, lambda problem, z, pair, g: reduce_rows(problem, z)),
    "reduced_inputs": lambda p: reduced_inputs(p.normal(8, 5))[0],
    "principal_planes": lambda p: principal_planes(p.normal(4, 7))[0],
    "class_separation": lambda p: torch.tensor(
        class_separation(p.normal(4, 6), torch.tensor([0, 0, 0, 1, 1, 1]).to(p.device))
    ),
    "plateau_start": lambda p: torch.tensor(
        float(plateau_start([1, 2, 3], p.normal(3, 4).abs(), generator=p.generator()).width)
    ),
}


def plain(value):
    """A tensor of either device on the CPU."""
    return value.detach().cpu() if isinstance(value, torch.Tensor) else value


@pytest.mark.parametrize("generators", [CPU, DEVICE], ids=["drawn-here", "drawn-there"])
@pytest.mark.parametrize("name", CASES)
def test_a_function_gives_there_what_it_gives_here(name, generators):
    expected = CASES[name](Place(CPU, CPU))
    with Elsewhere():
        found = plain(CASES[name](Place(DEVICE, generators)))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12, equal_nan=True)


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
