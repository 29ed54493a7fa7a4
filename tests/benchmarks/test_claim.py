"""A claim's arithmetic, its line, and the file that keeps it."""

import json
from pathlib import Path

import msgspec
import pytest

from workbench.benchmarks import claim as module
from workbench.benchmarks.claim import Baseline, Claim, claim, save
from workbench.errors import ResultError

INLINE = Claim(
    name="e2e_p99_ms",
    value=41.2345,
    unit="ms",
    low=39.0,
    high=52.75,
    spread="range",
    runs=5,
    baseline=Baseline("no index", 30.25),
    command="workbench bench e2e_p99_ms",
    commit="0123456789ab",
    machine="a processor",
)


def changed(**changes) -> Claim:
    return msgspec.structs.replace(INLINE, **changes)


def test_a_claim_is_the_median_of_its_runs_between_the_least_and_the_greatest(monkeypatch):
    monkeypatch.setattr(module, "provenance", lambda: {"commit": "c0ffee", "machine": "a processor", "python": "3.11"})
    made = claim("a_ms", "ms", [5.0, 1.0, 9.0, 3.0, 4.0], Baseline("nothing", 2.0), note="seen")
    assert (made.value, made.low, made.high, made.spread, made.runs) == (4.0, 1.0, 9.0, "range", 5)
    assert (made.name, made.unit, made.baseline, made.note) == ("a_ms", "ms", Baseline("nothing", 2.0), "seen")
    assert (made.command, made.commit, made.machine) == ("workbench bench a_ms", "c0ffee", "a processor")


def test_an_interval_takes_the_place_of_the_range():
    made = claim("a", "times", [1.5], Baseline("equal", 1.0), interval=(1.25, 2), spread="95% over 5 pairs")
    assert (made.value, made.low, made.high, made.spread, made.runs) == (1.5, 1.25, 2.0, "95% over 5 pairs", 1)
    assert isinstance(made.high, float)


def test_an_interval_from_zero_to_zero_is_one():
    made = claim("a", "%", [3.0], Baseline("allowed", 5.0), interval=(0.0, 0.0))
    assert (made.low, made.high) == (0.0, 0.0)


def test_a_claim_is_one_line():
    assert INLINE.to_text() == "e2e_p99_ms                 41.2 ms (39 to 52.8, range, runs: 5; no index: 30.2 ms)"
    assert changed(note="mean 20 ms").to_text().endswith("no index: 30.2 ms); mean 20 ms")


def test_the_first_claim_makes_the_file_and_its_folder(tmp_path: Path):
    save(INLINE, tmp_path / "new" / "claims.json")
    (entry,) = json.loads((tmp_path / "new" / "claims.json").read_text())
    assert msgspec.convert(entry, Claim) == INLINE


def test_a_claim_takes_the_place_of_the_one_of_its_name_and_keeps_the_others(tmp_path: Path):
    output = tmp_path / "claims.json"
    for made in (changed(name="a"), changed(name="b"), changed(name="c"), changed(name="b", value=99.0)):
        save(made, output)
    assert [(entry["name"], entry["value"]) for entry in json.loads(output.read_text())] == [
        ("a", INLINE.value),
        ("c", INLINE.value),
        ("b", 99.0),
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["claims.json"], "no draft is left"


def test_what_cannot_be_written_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch):
    output = tmp_path / "claims.json"
    save(INLINE, output)
    held = output.read_bytes()

    def broken(descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", broken)  # once all of the new file is written
    with pytest.raises(ResultError, match=r"claims\.json cannot be written: no space"):
        save(changed(value=1.0), output)
    assert output.read_bytes() == held and [path.name for path in tmp_path.iterdir()] == ["claims.json"]


@pytest.mark.parametrize("text", ["", "{", '{"name": "a"}', "[1]", '[{"value": 1}]', "\x00"])
def test_a_file_that_holds_no_claims_is_named_and_left_alone(tmp_path: Path, text):
    output = tmp_path / "notes.json"
    output.write_text(text)
    with pytest.raises(ResultError, match=r"notes\.json holds no claims") as raised:
        save(INLINE, output)
    assert "\n" not in str(raised.value) and output.read_text() == text
