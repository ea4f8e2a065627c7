"""Facts about the real data sets that a wrong reader would miss."""

import pytest
import torch

from datamodules import MNIST, FashionMNIST, ImageFolder

pytestmark = pytest.mark.data


def _ready(module):
    module.setup()
    return module


def _nearest_mean_error(module):
    """Test error of the nearest class mean."""
    means = torch.stack(
        [module.train_images[module.train_labels == k].mean(0) for k in range(module.n_classes)]
    )
    distances = torch.cdist(module.test_images.flatten(1), means.flatten(1))
    return (distances.argmin(1) != module.test_labels).double().mean().item()


@pytest.mark.parametrize(
    ("make", "mean", "deviation"),
    # Means and deviations that every tutorial quotes for the training splits.
    [(MNIST, 0.1307, 0.3081), (FashionMNIST, 0.2860, 0.3530)],
)
def test_pixels_have_the_known_moments(make, mean, deviation, data_root):
    module = _ready(make(normalisation="none", root=str(data_root)))
    assert len(module.train_images) == 60_000
    assert len(module.test_images) == 10_000
    assert module.train_images.mean().item() == pytest.approx(mean, abs=1e-4)
    assert module.train_images.std().item() == pytest.approx(deviation, abs=1e-4)


def test_folder_has_the_moments_of_cifar10(data_root):
    """Known channel moments of CIFAR10; 15,000 of its images after JPEG come within 0.01."""
    module = _ready(
        ImageFolder(folder="cifar10-jpeg", normalisation="none", labels="classes", root=str(data_root))
    )
    means = module.train_images.mean((0, 2, 3))
    deviations = module.train_images.std((0, 2, 3))
    torch.testing.assert_close(means, torch.tensor([0.4914, 0.4822, 0.4465]), rtol=0, atol=0.01)
    torch.testing.assert_close(deviations, torch.tensor([0.2470, 0.2435, 0.2616]), rtol=0, atol=0.01)
    assert module.class_names[0] == "airplane"
    assert module.class_names[9] == "truck"
    assert torch.bincount(module.train_labels).tolist() == [1500] * 10


@pytest.mark.parametrize(("make", "bound"), [(MNIST, 0.30), (FashionMNIST, 0.45)])
def test_images_and_labels_belong_together(make, bound, data_root):
    """Nearest class mean: chance is 0.9; MNIST is known to come near 0.18, Fashion-MNIST near 0.32."""
    module = _ready(make(n_train=2000, n_test=1000, labels="classes", root=str(data_root)))
    assert _nearest_mean_error(module) < bound


@pytest.mark.parametrize("make", [MNIST, FashionMNIST])
def test_subset_of_real_data_is_balanced_and_on_the_sphere(make, data_root):
    module = _ready(make(n_train=512, n_test=1000, root=str(data_root)))
    counts = torch.bincount(module.train_classes)
    assert counts.max() - counts.min() == 1
    assert module.train_labels.sum() == 0
    norms = module.test_images.flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, torch.full_like(norms, 28.0))
