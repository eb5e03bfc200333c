import json
import math

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbclient import NotebookClient

from dlopt.lab.claims import assertion, claim

SETS = [(0, 1, 2), (3, 4, 5), (6, 7, 8)]
KEYS = ["id", "sentence", "kind", "holds", "verdict", "effect", "interval", "seeds", "page", "source"]


def effects(mean, spread=0.01):
    """Three sets with the same effects, so that a verdict does not hang on luck."""
    return lambda seeds: [mean + spread * (seed % 3 - 1) for seed in seeds]


def verdict(measured, **options):
    return claim("A sentence", measured, seeds=SETS, **options)["verdict"]


def test_a_deterministic_fact():
    record = claim("Four is at most five", 4, at_most=5)
    assert list(record) == KEYS
    assert record == dict(id="four-is-at-most-five", sentence="Four is at most five", kind="claim", holds=True,
                          verdict="holds", effect=4.0, interval=None, seeds=None, page=None, source=None)  # fmt: skip


@pytest.mark.parametrize(
    ("value", "bound", "holds"),
    [
        (0.5, {"at_most": 0.5}, True),
        (0.51, {"at_most": 0.5}, False),
        (0.5, {"at_least": 0.5}, True),
        (0.49, {"at_least": 0.5}, False),
        (0.3, {"between": (0.2, 0.4)}, True),
        (0.5, {"between": (0.2, 0.4)}, False),
        (31, {"equal": 31}, True),
        (31.1, {"equal": 31}, False),
        (31.1, {"equal": 31, "tolerance": 0.2}, True),
        (True, {"equal": True}, True),
        (np.float32(2.0), {"equal": 2}, True),
        (math.nan, {"at_most": 1}, False),
        (math.inf, {"at_most": 1}, False),
        (math.inf, {"at_least": 1}, True),
    ],
)
def test_bounds(value, bound, holds):
    assert claim("x", value, **bound)["holds"] is holds


def test_a_seeded_claim_is_measured_on_each_set():
    asked = []

    def measure(seeds):
        asked.append(seeds)
        return [0.4 + 0.01 * (seed % 3) for seed in seeds]

    record = claim("Half the steps", measure, at_most=0.5, seeds=SETS)
    assert asked == SETS
    assert record["holds"]
    assert record["effect"] == pytest.approx(0.41)
    assert record["interval"][0] < 0.41 < record["interval"][1] < 0.42
    assert record["seeds"] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_one_bad_set_is_enough_to_fail():
    def measure(seeds):
        return [0.3 + 0.001 * seed if seed < 6 else 0.55 for seed in seeds]

    assert verdict(measure, at_most=0.5) == "fails"
    pooled = np.array([measure([seed])[0] for seed in range(9)])
    assert pooled.mean() < 0.5


def test_the_margin_is_towards_the_bound():
    # standard error of each set: 0.01/√3 = 0.0058; the pooled 95% interval is ± 0.0067
    assert verdict(effects(0.490), at_most=0.5) == "holds"
    assert verdict(effects(0.496), at_most=0.5) == "fails"  # on average right, but not with margin
    assert verdict(effects(0.510), at_least=0.5) == "holds"
    assert verdict(effects(0.504), at_least=0.5) == "fails"
    assert verdict(effects(0.490), at_most=0.5, margin=0.02) == "fails"
    assert verdict(effects(0.470), at_most=0.5, margin=0.02) == "holds"
    assert verdict(effects(0.49), between=(0.48, 0.5)) == "holds"
    assert verdict(effects(0.49), between=(0.486, 0.5)) == "fails"


def test_the_interval_over_all_seeds_counts_even_with_a_small_margin():
    wide = effects(0.45, spread=0.2)
    assert verdict(wide, at_most=0.5, margin=0.0) == "fails"
    assert verdict(effects(0.45, spread=0.02), at_most=0.5, margin=0.0) == "holds"


def test_misses_are_infinite_and_the_median_decides():
    missed_once = lambda seeds: [math.inf if seed == 4 else 30.0 + seed % 3 for seed in seeds]  # noqa: E731
    record = claim("Few steps", missed_once, at_most=50, seeds=SETS)
    assert record["effect"] == 31.0
    assert record["verdict"] == "holds"
    record = claim("Few steps", lambda seeds: [math.inf] * len(seeds), at_most=50, seeds=SETS)
    assert (record["effect"], record["interval"], record["verdict"]) == ("inf", ["inf", "inf"], "fails")
    assert claim("Never", lambda seeds: [math.inf] * len(seeds), at_least=50, seeds=SETS)["holds"]
    assert claim("NaN", lambda seeds: [math.nan] * len(seeds), at_most=50, seeds=SETS)["effect"] == "nan"
    assert verdict(lambda seeds: [math.nan, 1, 1], at_most=50) == "fails"


def test_mappings_and_series():
    values = {seed: 0.4 + 0.01 * (seed % 3) for seed in range(9)}
    expected = verdict(lambda seeds: [values[s] for s in seeds], at_most=0.5)
    for measured in (values, pd.Series(values), lambda seeds: {s: values[s] for s in seeds}):
        assert verdict(measured, at_most=0.5) == expected == "holds"
    with pytest.raises(ValueError, match=r"no effect for seeds \[8\]"):
        verdict(dict.fromkeys(range(8), 1.0), at_most=0.5)


@pytest.mark.parametrize(
    ("error", "message", "measured", "options"),
    [
        (ValueError, "exactly one bound, not 0", 1, {}),
        (ValueError, "exactly one bound, not 2", 1, {"at_most": 1, "at_least": 0}),
        (ValueError, "range of numbers", 1, {"between": (2, 1)}),
        (ValueError, "range of numbers", 1, {"at_most": math.nan}),
        (ValueError, "three or more sets", effects(1), {"at_most": 1, "seeds": [(0, 1), (2, 3)]}),
        (ValueError, "of two or more seeds", effects(1), {"at_most": 1, "seeds": [(0,), (1,), (2,)]}),
        (ValueError, "overlap", effects(1), {"at_most": 1, "seeds": [(0, 1), (1, 2), (3, 4)]}),
        (ValueError, "3 seeds need as many effects", lambda seeds: [1, 2], {"at_most": 1, "seeds": SETS}),
        (ValueError, "at least 0", 1, {"equal": 1, "tolerance": -1}),
        (ValueError, "at least 0", effects(1), {"at_most": 1, "seeds": SETS, "margin": -1}),
        (TypeError, "one number", [1, 2], {"at_most": 1}),
        (TypeError, "one number", effects(1), {"at_most": 1}),
        (TypeError, "function of them", 3.0, {"at_most": 1, "seeds": SETS}),
    ],
)
def test_bad_arguments_raise(error, message, measured, options):
    with pytest.raises(error, match=message):
        claim("x", measured, **options)


def test_an_error_in_the_measurement_is_not_swallowed():
    with pytest.raises(ZeroDivisionError):
        claim("x", lambda seeds: [1 / 0 for _ in seeds], at_most=1, seeds=SETS)


@pytest.mark.parametrize(
    ("measured", "bound", "expected"),
    [
        ([1.0, 1.1, 0.9, 1.0], {"at_least": 0.5}, "confirmed"),
        ([1.0, 1.1, 0.9, 1.0], {"at_most": 0.5}, "contradicted"),
        ([1.0, 1.1, 0.9, 1.0], {"at_least": 1.0}, "undecided"),
        ([1.0, 1.1, 0.9, 1.0], {"between": (0.5, 1.5)}, "confirmed"),
        ([1.0, 1.1, 0.9, 1.0], {"between": (1.5, 2.5)}, "contradicted"),
        ([1.0, 1.01], {"at_least": 0.5}, "confirmed"),
        ([1.0], {"at_least": 0.5}, "undecided"),
        ([], {"at_least": 0.5}, "undecided"),
        ([1.0, math.nan], {"at_least": 0.5}, "undecided"),
        ([math.inf] * 4, {"at_most": 0.5}, "contradicted"),
        (3.0, {"at_least": 0.5}, "confirmed"),
        (3.0, {"at_most": 0.5}, "contradicted"),
        (math.nan, {"at_most": 0.5}, "undecided"),
    ],
)
def test_assertions_are_decided_by_the_interval(measured, bound, expected):
    record = assertion("They said so", "Somebody 1999", measured, **bound)
    assert list(record) == KEYS
    assert record["verdict"] == expected
    assert record["holds"] is {"confirmed": True, "contradicted": False, "undecided": None}[expected]
    assert (record["kind"], record["source"]) == ("assertion", "Somebody 1999")


def test_assertions_with_seeds():
    record = assertion("q", "s", lambda seeds: [0.1 * seed for seed in seeds], at_least=0, seeds=[5, 6, 7])
    assert record["seeds"] == [5, 6, 7]
    assert record["effect"] == pytest.approx(0.6)
    with pytest.raises(ValueError, match="repeated"):
        assertion("q", "s", effects(1), at_least=0, seeds=[5, 5])
    with pytest.raises(ValueError, match="exactly one bound"):
        assertion("q", "s", 1.0)


def test_records_are_json_and_their_names_stable():
    records = [
        claim("Misses", math.inf, at_most=1),
        claim("Seeded", effects(np.float64(0.4)), at_most=0.5, seeds=[np.arange(3), np.arange(3, 6), np.arange(6, 9)]),
        assertion("Ünïcode & signs: β₂ = 0.999!", "s", [1, 2, 3], at_least=0, seeds=None),
    ]
    assert json.loads(json.dumps(records, allow_nan=False)) == records
    assert records[2]["id"] == "n-code-signs-0-999"
    long = "A very long sentence about the behaviour of optimizers on ravines of condition number "
    one, two = claim(long + "10", 0, at_most=1)["id"], claim(long + "100", 0, at_most=1)["id"]
    assert one != two
    assert max(len(one), len(two)) <= 60
    assert claim(long, 0, at_most=1, id="short")["id"] == "short"


def test_one_line_is_printed(capsys):
    claim("Half the steps", effects(0.4), at_most=0.5, seeds=SETS)
    claim("Too many steps", 3, between=(1, 2))
    claim("The same on every machine", effects(0.4), at_most=0.5, seeds=SETS, digits=0)
    assertion("They said so", "Somebody 1999", [1.0, 1.1, 0.9, 1.0], at_least=1.0, level=0.9, digits=2)
    assert capsys.readouterr().out.splitlines() == [
        "✓ Half the steps: 0.4, 95% interval [0.393, 0.407] (≤ 0.5)",
        "✗ Too many steps: 3 (in [1, 2])",
        "✓ The same on every machine (≤ 0.5)",
        "? undecided: “They said so” (Somebody 1999): 1, 90% interval [0.9, 1.1] (≥ 1)",
    ]


def test_in_a_notebook_the_record_travels_as_metadata_and_failure_is_red():
    cells = [
        "from dlopt.lab import claim, assertion\nclaim('It is <small>', 1, at_most=2)",
        "record = claim('It is large', 1, at_least=2)\nprint(record['verdict'])",
        "assertion('So they say', 'Somebody', 1.0, at_least=2)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    good, bad, other = (cell.outputs for cell in notebook.cells)
    assert [output.output_type for output in good] == ["display_data"]  # and no second copy of the record
    assert good[0].metadata["dlopt"]["id"] == "it-is-small"
    assert good[0].data["text/plain"] == "✓ It is <small>: 1 (≤ 2)"
    assert "It is &lt;small&gt;" in good[0].data["text/html"]
    assert "background:#b3261e" not in good[0].data["text/html"]
    assert bad[0].metadata["dlopt"]["holds"] is False
    assert "background:#b3261e" in bad[0].data["text/html"]
    assert bad[1].text == "fails\n"
    assert other[0].metadata["dlopt"]["verdict"] == "contradicted"
    assert "background:#b3261e" not in other[0].data["text/html"]
    nbformat.validate(notebook)
