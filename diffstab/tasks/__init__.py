"""Tasks with theory: the random hierarchy model and its sparse variant, as rules and strings."""

from diffstab.tasks.hierarchy import Hierarchy, Strings

__all__ = ["Hierarchy", "Strings"]
