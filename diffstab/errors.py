"""The exceptions and warnings of diffstab: each says what, where, and the way out."""


class DiffstabError(ValueError):
    """Base of every error that diffstab raises on purpose."""


class ArgumentError(DiffstabError):
    """An argument breaks its condition.

    Args:
        argument: Name of the argument, or its dotted path in a config.
        condition: What it must satisfy, continuing "must ...".
        received: The value, or the property of it that breaks the condition.
        way_out: What the caller can do instead; left out of the message when empty.
    """

    def __init__(self, argument: str, condition: str, received: object, way_out: str = "") -> None:
        message = f"{argument} must {condition}, got {received}."
        super().__init__(f"{message} {way_out}" if way_out else message)


class DegenerateError(DiffstabError):
    """The input is valid but the quantity is undefined on it (a constant predictor, say)."""


class DataError(DiffstabError):
    """Data files are missing or damaged.

    Args:
        what: The data set or file.
        where: The path looked at.
        way_out: How to get a good copy.
    """

    def __init__(self, what: str, where: object, way_out: str) -> None:
        super().__init__(f"{what} ({where}). {way_out}")


class ResultsError(DiffstabError):
    """A results folder or record cannot be read, written or continued."""


class RunError(DiffstabError):
    """Runs of a grid failed; the others are recorded."""


class FoldingWarning(UserWarning):
    """Some drawn deformations fold the image: the map is not injective."""


class UnsteadyPredictorWarning(UserWarning):
    """A predictor's output changes between two calls, or with the other images of the batch."""


class ConstantLayerWarning(UserWarning):
    """A layer is constant on the images: its D, G and R are undefined."""
