import functools
import warnings
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from diffstab.errors import UnsteadyPredictorWarning
from diffstab.stability import diffeomorphism, draw_pairs, stability_of
from diffstab.stability.predictors import evaluation_mode
from diffstab.stability.reachable import reachable

GLOBAL = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Dropout(0.5))


def images(count=24):
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def probes(generator):
    return draw_pairs(images(), deform=diffeomorphism(0.2, 2), generator=generator)


@pytest.fixture
def net():
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Dropout(0.5))
    return net.train()


def measured(predictor, probes, **options):
    report = stability_of(predictor, probes, bootstrap=0, generator=torch.Generator(), **options)
    return [float(x) for x in report.estimate]


def global_predictor(x):
    return GLOBAL(x)


class Slotted:
    __slots__ = ("nets",)

    def __init__(self, nets):
        self.nets = nets

    def predict(self, x):
        return self.nets["first"][0](x)


class Calls:
    def __call__(self, x):
        return self.run(x)

    @staticmethod
    def run(x):
        return global_predictor(x)


def with_default(net):
    return lambda x, net=net: net(x)


def wrapped(net):
    @functools.wraps(net.forward)
    def run(x):
        return net(x)

    return functools.lru_cache(maxsize=1)(run)


WAYS = {
    "closure": lambda net: lambda x: net(x),
    "default": with_default,
    "keyword": lambda net: functools.partial(lambda x, *, net: net(x), net=net),
    "partial": lambda net: functools.partial(net),
    "bound method": lambda net: net.forward,
    "attribute": lambda net: SimpleNamespace(net=net, run=lambda x: net(x)).run,
    "slots and containers": lambda net: Slotted({"first": [net]}).predict,
    "nested": lambda net: functools.partial(lambda fs, x: fs[0](x), (lambda x: net(x),)),
    "wrapped and cached": wrapped,
    "list in a module": lambda net: Ensemble([net, net]),
}


class Ensemble(nn.Module):
    def __init__(self, nets):
        super().__init__()
        self.hidden = SimpleNamespace(nets=nets)  # torch does not know these

    def forward(self, x):
        return torch.stack([net(x) for net in self.hidden.nets]).mean(0)


@pytest.mark.parametrize("way", WAYS)
def test_modules_behind_a_callable_are_measured_in_eval_mode_and_put_back(net, probes, way):
    buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}
    wanted = measured(nn.Flatten(), probes)  # eval mode of fresh statistics: 1 / sqrt(1 + 1e-5)
    assert measured(WAYS[way](net), probes)[:3] == pytest.approx(wanted[:3], rel=1e-5)
    assert all(module.training for module in net.modules())
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in net.named_buffers())


@pytest.mark.parametrize("predictor", [global_predictor, Calls(), lambda x: GLOBAL(x)])
def test_global_modules_are_found(probes, predictor):
    GLOBAL.train()
    wanted = measured(nn.Flatten(), probes)
    assert measured(predictor, probes)[:3] == pytest.approx(wanted[:3], rel=1e-5)
    assert GLOBAL.training
    assert int(GLOBAL[1].num_batches_tracked) == 0


def test_a_compiled_module_is_found(net):
    compiled = torch.compile(net, backend="eager")
    with evaluation_mode(lambda x: compiled(x)):
        assert not net[1].training
    assert net[1].training


def test_modes_and_buffers_come_back_after_an_error(net):
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))
            self.register_buffer("last", torch.zeros(2))
            self.net = net

        def forward(self, x):
            self.calls += 1
            self.last = x
            raise RuntimeError("broken")

    predictor = Counts()
    with pytest.raises(RuntimeError, match="broken"), evaluation_mode(predictor):
        predictor(torch.ones(2, 1, 8, 8))
    assert net.training
    assert float(predictor.calls) == 0
    assert torch.equal(predictor.last, torch.zeros(2))


def test_the_search_is_bounded_and_ends_on_cycles():
    loop = [object() for _ in range(100_000)]
    loop.append(loop)
    holder = SimpleNamespace(loop=loop, net=nn.Flatten())
    holder.self = holder
    assert reachable(holder, nn.Module) == [holder.net]


def in_place(x):
    return x.mul_(2).add_(1).flatten(1)


def view(x):
    return x.flatten(1)


def one_buffer():
    buffer = torch.empty(1000, 64)

    def run(x):
        return torch.add(x.flatten(1), 0, out=buffer[: len(x)])

    return run


@pytest.mark.parametrize("batch_size", [5, 100])
@pytest.mark.parametrize(
    "predictor", [in_place, view, one_buffer(), nn.Sequential(nn.Flatten(), nn.ReLU(True))]
)
def test_nobodys_images_change_and_no_output_is_overwritten(probes, predictor, batch_size):
    copies = [part.clone() for part in probes[:3]]
    measured(predictor, probes, batch_size=batch_size)
    assert all(torch.equal(part, copy) for part, copy in zip(probes[:3], copies, strict=True))
    plain = {in_place: lambda x: 2 * x.flatten(1) + 1, view: nn.Flatten()}.get(
        predictor, lambda x: predictor(x.clone()).clone()
    )
    expected = measured(plain, probes, batch_size=batch_size)
    assert measured(predictor, probes, batch_size=batch_size) == pytest.approx(expected, rel=1e-6)


def test_images_may_need_gradients_or_be_made_for_inference(probes):
    wanted = measured(in_place, probes)
    needing = probes._replace(clean=probes.clean.clone().requires_grad_())
    assert measured(in_place, needing) == wanted
    with torch.inference_mode():
        made = probes._replace(clean=probes.clean.clone(), deformed=probes.deformed.clone())
    assert measured(in_place, made) == wanted


@pytest.mark.parametrize("batch_size", [1, 7, 24])
def test_a_random_predictor_is_told(probes, batch_size):
    generator = torch.Generator().manual_seed(0)
    with pytest.warns(UnsteadyPredictorWarning, match="the predictor changes between two calls on the same"):
        measured(
            lambda x: x.flatten(1) + 0.5 * torch.randn(len(x), 64, generator=generator),
            probes,
            batch_size=batch_size,
        )


@pytest.mark.parametrize(
    "predictor",
    [
        lambda x: (x - x.mean(dim=0)).flatten(1),
        lambda x: nn.functional.batch_norm(x, None, None, training=True).flatten(1),
        nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64, track_running_stats=False)),
        lambda x: x.flatten(1).softmax(dim=0),
    ],
)
def test_a_predictor_that_looks_at_the_other_images_is_told(probes, predictor):
    with pytest.warns(UnsteadyPredictorWarning, match="changes with the other images of the batch"):
        measured(predictor, probes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_rounding_of_batched_kernels_is_not_told(probes, dtype):
    def rounded(x):  # off by some units in the last place, another way for each size of the batch
        units = torch.linspace(-4, 4, len(x)).round()[:, None] * torch.finfo(dtype).eps
        return (x.flatten(1) * (1 + units)).to(dtype)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measured(rounded, probes)


def test_what_is_negligible_beside_the_changes_is_not_told(probes):
    def noisy(x):
        return x.flatten(1).double() + 1e-3 * len(x) / 24

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measured(noisy, probes)
