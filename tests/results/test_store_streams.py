"""Records of other random streams do not mix with those of now."""

import pytest

from diffstab.errors import ResultsError
from diffstab.results import Records, RecordStore, provenance, record_key
from diffstab.results.hashing import config_hash
from diffstab.streams import SCHEME


def test_the_version_of_the_streams_is_part_of_the_key():
    plain = config_hash({"config": {"loss": "mse"}, "cell": {"seed": 0}})
    assert record_key({"loss": "mse"}, {"seed": 0}, grid_keys=()) != plain


def test_convention_records_carry_the_version_of_the_streams(tmp_path):
    store = RecordStore(tmp_path, {"loss": "mse"})
    store.write(store.key({"seed": 0}), {"D": 1.0, **provenance()})
    assert store.read()["streams"].tolist() == [SCHEME]
    assert RecordStore(tmp_path, {"loss": "mse"}).streams() == SCHEME


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("version", [None, 1, SCHEME + 1])
def test_a_folder_of_other_streams_is_refused(tmp_path, version, packed):
    row = {**provenance(), "streams": version} if version else {"versions": "{}"}
    store = RecordStore(tmp_path, {"loss": "mse"})
    store.write("old", {"D": 1.0, **row})
    if packed:
        store.pack()
    with pytest.raises(
        ResultsError, match=f"random streams of version {version or 1}, those of now are {SCHEME}"
    ):
        RecordStore(tmp_path, {"loss": "mse"})
    assert Records(tmp_path).read()["D"].tolist() == [1.0]


def test_records_that_say_nothing_of_their_origin_have_no_version(tmp_path):
    Records(tmp_path).write("a", {"D": 1.0})
    assert Records(tmp_path).streams() is None
    assert Records(tmp_path / "empty").streams() is None
