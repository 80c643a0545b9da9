"""The script also trains without a GPU. It writes only its own part of a page, and only measurements from a GPU."""

import json

import gpu_feed
import pytest


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_gpu_feed_runs_without_a_gpu(tmp_path, capsys):
    out, into = tmp_path / "feed.json", tmp_path / "page.md"
    into.write_text("above\n<!-- begin: benches/gpu_feed.py -->\nold\n<!-- end: benches/gpu_feed.py -->\nbelow\n")
    gpu_feed.main(["--tiny", "--rounds", "1", "--steps", "1", "--warm", "1", "--out", str(out)])
    printed = capsys.readouterr().out
    report = json.loads(out.read_text())
    assert [job["model"] for job in report["jobs"]] == ["T5", "decoder"]
    for job in report["jobs"]:
        ways = {(result["collator"], result["workers"], result["pin_memory"]) for result in job["results"]}
        for collator in {collator for collator, *_ in ways} - {gpu_feed.RESIDENT}:
            assert {(collator, workers, pin) for workers in (0, 2) for pin in (False, True)} <= ways
        for result in job["results"]:
            assert result["median"]["tokens_per_second"] > 0
            assert 0 <= result["median"]["stall"] <= result["median"]["step"]
            assert f"| `{result['collator']}` |" in printed or result["collator"] == gpu_feed.RESIDENT
    with pytest.raises(SystemExit):
        gpu_feed.main(["--page", str(out), "--into", str(into)])
    assert "without a GPU" in capsys.readouterr().err
    report["about"] |= {"device": "a GPU", "tiny": False}
    out.write_text(json.dumps(report))
    gpu_feed.main(["--page", str(out), "--into", str(into)])
    text = into.read_text()
    assert text.startswith("above\n<!-- begin: benches/gpu_feed.py -->\na GPU, ")
    assert text.endswith("\n<!-- end: benches/gpu_feed.py -->\nbelow\n")
    assert "old" not in text
