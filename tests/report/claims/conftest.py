"""One claim held against made-up records of its stages."""

from dataclasses import replace

import pytest

from diffstab.report.claims.entries import sources_claims
from diffstab.report.claims.judging import judge

CLAIMS = {claim.id: claim for claim in sources_claims()}


@pytest.fixture(scope="session")
def judged():
    """The judgement of a claim from results folders, as if it named no other stages."""

    def make(name, folders):
        claim = replace(CLAIMS[name], stage=tuple(one for one in CLAIMS[name].stage if one in folders))
        return judge(folders, claims=[claim])[0]

    return make
