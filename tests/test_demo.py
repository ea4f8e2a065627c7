import dataclasses

from diffstab import demo
from diffstab.results import read_records


def test_the_demo_writes_records_and_a_page(tmp_path, monkeypatch, capsys):
    full = demo.demo_experiment()
    small = dataclasses.replace(
        full, n_train=[16], seeds=[0, 1], net=dataclasses.replace(full.net, hidden=[20])
    )
    monkeypatch.setattr(demo, "demo_experiment", lambda: small)
    assert demo.main(["--results", str(tmp_path / "demo"), "--no-open"]) == 0
    page = tmp_path / "demo" / "report" / "index.html"
    assert f"Report: {page}" in capsys.readouterr().out
    assert "lazy" in page.read_text()
    assert len(read_records(tmp_path / "demo")) == 4
