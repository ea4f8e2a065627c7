"""Claims of the sources that nothing here can test, each with the reason."""

from diffstab.report.paper.claims_evidence import ABSTRACT, JACOT, SLIDES, Claim

_LISTED = (
    ("cnn-features", ABSTRACT, "first sentences",
     "Feature learning is beneficial for modern architectures trained to classify images.",
     "Needs convolutional nets at their full size; this project trains fully-connected ones."),
    ("cnn-stability", SLIDES, "Learning features in neural networks (ii)",
     "Nets that perform well in the feature regime learn to become stable to deformations.",
     "Needs convolutional nets at their full size; this project trains fully-connected ones."),
    ("stability-performance", ABSTRACT, "last sentence",
     "Performance is correlated with smoothness along diffeomorphisms.",
     "A correlation over many architectures (Petrini et al. 2021); two regimes of one architecture give none."),
    ("sparsity-cause", ABSTRACT, "last sentences",
     "Sparse features are the plausible cause of the worse performance on images.",
     "Causes are not measured here; the claims about neurons, smoothness and test error stand side by side."),
    ("linear-invariance", SLIDES, "Learning features in neural networks (ii)",
     "Few relevant linear directions, as uninformative corner pixels give, play no prominent role in learning images.",
     "Needs images with chosen directions removed, which no stage makes."),
    ("uniqueness", SLIDES, "Neural network and training regimes (ii)",
     "The feature solution of least norm is unique with probability 1.",
     "The gap that certifies a minimum bounds its norm, not the distance to another solution of the same norm."),
    ("curse", SLIDES, "The puzzling success of deep learning",
     "Data of little structure cannot be learned in high dimension.",
     "A motivation without a number of its own; the exponents in d = 2, 3 and 5 bear on it."),
    ("direct-optimisation", JACOT, "Section 3.3",
     "Direct optimisation of representations or covariances is costly and unstable where activations lose rank.",
     "A remark on cost; on small data both are minimised here, see the claim on the three forms."),
    ("local-minima", JACOT, "Proposition 1",
     "Local minima in weights and in representations correspond to each other.",
     "A statement on all local minima, proven; trained nets reach too few of them to count."),
    ("kernel-decomposition", JACOT, "Remark 23",
     "For the bipartite graph a net of fewer neurons is almost optimal.",
     "Its formulas are lost in the copy of the source; at N = 6 eight neurons cost 36.14 against 36."),
    ("depth", JACOT, "Introduction", "The sparsity that L2 regularisation causes increases with depth.",
     "Plateaus of one and of two hidden layers have penalties of their own; no stage varies the depth alone."),
    ("bottleneck", JACOT, "Section 3.1, item 5",
     "Hidden representations keep as little information from the input as necessary.",
     "No measure of information is stated that a number could be held against."),
    ("generalisation", JACOT, "Section 4.3", "An early plateau guarantees good generalisation.",
     "No bound on the test error is stated that a number could be held against."),
    ("implicit-bias", JACOT, "Introduction",
     "Gradient descent on losses of exponential decay has the bias of L2 regularisation.",
     "A result that the source cites; no stage trains without a penalty towards infinite weights."),
)  # fmt: skip

UNTESTED_CLAIMS: tuple[Claim, ...] = tuple(Claim(*one) for one in _LISTED)
"""Claims without a check; the rule says why."""
