"""Every claim of the sources with its verdict, from the results folders of the stages.

Sources: Petrini, Cagnetta, Vanden-Eijnden, Wyart 2022 (arXiv 2206.12314), slides and abstract; Jacot, Golikov,
Hongler, Gabriel 2022 (arXiv 2205.15809).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from diffstab.errors import DiffstabError
from diffstab.report.paper.claims_evidence import HOLDS, NOT_TESTED, UNDECIDED, Claim, Evidence, Finding
from diffstab.report.paper.claims_fields import FIELD_CLAIMS
from diffstab.report.paper.claims_forms import FORM_CLAIMS
from diffstab.report.paper.claims_images import IMAGE_CLAIMS
from diffstab.report.paper.claims_nets import NET_CLAIMS
from diffstab.report.paper.claims_plateau import PLATEAU_CLAIMS
from diffstab.report.paper.claims_sphere import SPHERE_CLAIMS
from diffstab.report.paper.claims_trained import TRAINED_CLAIMS
from diffstab.report.paper.claims_untested import UNTESTED_CLAIMS

CLAIMS: tuple[Claim, ...] = (
    *IMAGE_CLAIMS,
    *SPHERE_CLAIMS,
    *FIELD_CLAIMS,
    *TRAINED_CLAIMS,
    *FORM_CLAIMS,
    *PLATEAU_CLAIMS,
    *NET_CLAIMS,
    *UNTESTED_CLAIMS,
)
"""All claims, images first."""


class Judged(NamedTuple):
    """A claim, what was found about it, and how long its check took, in seconds."""

    claim: Claim
    finding: Finding
    seconds: float


def judge(folders: Mapping[str, Path], *, claims: Sequence[Claim] = CLAIMS) -> list[Judged]:
    """Return the verdict on every claim.

    A claim whose stages have no records, or damaged ones, is not tested, and its detail says why. One of several
    stages does not hold before all of them have been run.

    Args:
        folders: Results folder of each stage by name.
        claims: Which claims.
    """
    evidence = Evidence(folders)
    return [_judged(claim, evidence) for claim in claims]


def _judged(claim: Claim, evidence: Evidence) -> Judged:
    started = time.perf_counter()
    if claim.check is None:
        finding = Finding(NOT_TESTED, detail=claim.rule)
    else:
        try:
            finding = claim.check(evidence)
        except DiffstabError as error:
            finding = Finding(NOT_TESTED, detail=str(error))
        absent = [stage for stage in claim.stages if stage not in evidence.folders]
        if finding.verdict == HOLDS and absent:
            detail = f"Not run: {', '.join(absent)}. {finding.detail}"
            finding = finding._replace(verdict=UNDECIDED, detail=detail)
    return Judged(claim, finding, time.perf_counter() - started)
