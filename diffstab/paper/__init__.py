"""The sources in an hour: the runs behind their figures and claims, and one page with every verdict."""

from diffstab.paper.running import run_stages
from diffstab.paper.stages import STAGES, Stage

__all__ = ["STAGES", "Stage", "run_stages"]
