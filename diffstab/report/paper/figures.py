"""The figures and tables of the sources by name.

Sources: Petrini, Cagnetta, Vanden-Eijnden, Wyart 2022 (arXiv 2206.12314) and the slides of its talk; Jacot, Golikov,
Hongler, Gabriel 2022 (arXiv 2205.15809).
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from diffstab.errors import ArgumentError, ResultsError
from diffstab.report.document import Picture
from diffstab.report.paper import image_figures, l2_figures, sphere_figures
from diffstab.report.paper.drawn import Drawn, Folders, has_records, renamed_picture

_IMAGES = ("images_mnist", "images_fashion", "images_cifar10")
_SPHERE = ("sphere_constant", "sphere_gaussian", "sphere_anisotropic")
_EXACT = ("plateau_bipartite", "plateau_onehot", "plateau_scalar")
_FEATURES, _L2 = "Petrini et al. 2022", "Jacot et al. 2022"


class PaperFigure(NamedTuple):
    """A figure or table of the sources.

    Attributes:
        name: Of its script and its files.
        title: Heading.
        source: Where it stands.
        stages: Runs that it is drawn from; those that are not there are left out.
        drawing: Draws it from the folders of the stages that are there.
    """

    name: str
    title: str
    source: str
    stages: tuple[str, ...]
    drawing: Callable[[Folders], Drawn]

    def draw(self, folders: Mapping[str, Path]) -> Drawn:
        """Draw the figure from the stages that have records.

        Args:
            folders: Results folders by stage; other stages than those of the figure are passed over.

        Returns:
            Pictures, their stems unique over all figures, and tables.

        Raises:
            ResultsError: No stage of the figure has records.
        """
        found = {name: Path(folders[name]) for name in self.stages if name in folders}
        return self.draw_from({name: folder for name, folder in found.items() if has_records(folder)})

    def draw_from(self, folders: Folders) -> Drawn:
        """Draw the figure from folders of any names, as `draw` does.

        Args:
            folders: Results folders by a name that is unique among them; each holds records.

        Returns:
            Pictures and tables.

        Raises:
            ResultsError: There is no folder, and the figure needs one.
        """
        if self.stages and not folders:
            raise ResultsError(f"{self.name} needs records of {' or '.join(self.stages)}. Run these first.")
        drawn = self.drawing(folders)
        return drawn._replace(pictures=self._named(drawn.pictures))

    def _named(self, pictures: list[Picture]) -> list[Picture]:
        """The pictures under names that begin with that of the figure; one alone has that name."""
        if len(pictures) == 1:
            return [renamed_picture(pictures[0], self.name)]
        return [renamed_picture(one, f"{self.name}-{one.stem}") for one in pictures]


_LISTED = (
    PaperFigure(
        "overview",
        "Test error, D and R at a glance",
        _FEATURES,
        _IMAGES,
        image_figures.draw_overview,
    ),
    PaperFigure(
        "test_error_vs_n",
        "Test error against n, feature and lazy",
        f"{_FEATURES}, Fig. 1",
        _IMAGES,
        image_figures.draw_test_error,
    ),
    PaperFigure(
        "stability_vs_n",
        "Stability to deformations and to noise against n",
        f"{_FEATURES}, “Evidence for overfitting along diffeomorphisms”",
        _IMAGES,
        image_figures.draw_stability,
    ),
    PaperFigure(
        "neurons",
        "Neurons before and after training",
        f"{_FEATURES}, “Training regimes and sparsity”",
        _IMAGES,
        image_figures.draw_neurons,
    ),
    PaperFigure(
        "deformations",
        "Images, deformed and noisy",
        f"{_FEATURES}, “Evidence for overfitting along diffeomorphisms”",
        _IMAGES,
        image_figures.draw_deformations,
    ),
    PaperFigure(
        "constant_target",
        "Constant target: exact, trained and lazy predictors",
        f"{_FEATURES}, “Numerical tests of the theory”",
        ("sphere_constant", "sphere_trained"),
        sphere_figures.draw_constant_target,
    ),
    PaperFigure(
        "gaussian_curves",
        "Gaussian random fields: test error against n",
        f"{_FEATURES}, “Numerical tests of the theory”",
        ("sphere_gaussian",),
        sphere_figures.draw_gaussian_curves,
    ),
    PaperFigure(
        "gaussian_pictures",
        "Gaussian random fields on the circle and the 2-sphere",
        f"{_FEATURES}, “Random functions on the sphere”",
        (),
        sphere_figures.draw_gaussian_pictures,
    ),
    PaperFigure(
        "exponents",
        "Exponents of the test error, measured and predicted",
        f"{_FEATURES}, “Generalization error asymptotics”",
        _SPHERE,
        sphere_figures.draw_exponents,
    ),
    PaperFigure(
        "spectral_bias",
        "Spectral bias: the error in each degree",
        f"{_FEATURES}, “Generalization error asymptotics (iii): spectral bias”",
        ("sphere_constant", "sphere_gaussian"),
        sphere_figures.draw_spectral_bias,
    ),
    PaperFigure(
        "anisotropic",
        "A target of two coordinates beside one of all",
        f"{_FEATURES}, “To sum up”",
        ("sphere_anisotropic",),
        sphere_figures.draw_anisotropic,
    ),
    PaperFigure(
        "predictors",
        "Predictors with their cusps, neurons and atoms",
        f"{_FEATURES}, “Generalization error asymptotics (ii): d = 2”",
        ("sphere_constant", "sphere_trained"),
        sphere_figures.draw_predictors,
    ),
    PaperFigure(
        "forces",
        "Attraction and repulsion in the hidden layers",
        f"{_L2}, Fig. 1",
        ("forces_mnist",),
        l2_figures.draw_forces,
    ),
    PaperFigure(
        "plateau_mnist",
        "MNIST: the least loss against the width",
        f"{_L2}, Fig. 2",
        ("plateau_mnist", "plateau_mnist_shallow"),
        l2_figures.draw_plateau,
    ),
    PaperFigure(
        "plateau_teacher",
        "A teacher network: the least loss against the width",
        f"{_L2}, Fig. 2",
        ("plateau_teacher",),
        l2_figures.draw_plateau,
    ),
    PaperFigure(
        "plateau_exact",
        "Plateaus whose start theory gives",
        f"{_L2}, Propositions 14 and 15",
        _EXACT,
        l2_figures.draw_exact_plateau,
    ),
    PaperFigure(
        "optimisers",
        "Weights, representations and covariances: one minimum",
        f"{_L2}, first and second reformulation",
        ("plateau_optimisers",),
        l2_figures.draw_optimisers,
    ),
)
FIGURES: dict[str, PaperFigure] = {figure.name: figure for figure in _LISTED}
"""Every figure and table of the sources, in the order of a page."""


def paper_figure(name: str) -> PaperFigure:
    """Return a figure by its name.

    Raises:
        ArgumentError: There is none of that name.
    """
    if name not in FIGURES:
        raise ArgumentError("name", f"be one of {', '.join(FIGURES)}", repr(name))
    return FIGURES[name]
