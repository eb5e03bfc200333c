"""`make book` fails on what must not pass unseen. Each fault is made here on purpose."""

import json
import os
import subprocess
import sys
from pathlib import Path

import records

CLAIM = """\
from IPython.display import display
record = {{"id": "tiny", "sentence": "One is {word} two.", "kind": "claim", "holds": {holds},
          "verdict": "{verdict}", "effect": 1.0, "interval": [0.5, 1.5], "seeds": [0, 1, 2], "source": None}}
display({{"text/plain": "{verdict}"}}, raw=True, metadata={{"dlopt": record}})
"""


def test_sound_book_is_built_and_its_records_are_gathered(tiny):
    tiny.notebook(CLAIM.format(word="less than", holds=True, verdict="holds"))
    done = tiny.build()
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tiny.root / "_build/html/index.html").as_uri() in done.stdout
    assert "1 of 1 claims hold" in done.stdout
    [claim] = json.loads((tiny.root / "_build/claims.json").read_text())
    assert claim["id"] == "tiny" and claim["page"] == "page" and claim["interval"] == [0.5, 1.5]
    [cost] = json.loads((tiny.root / "_build/pages.json").read_text())
    assert cost["page"] == "page" and cost["seconds"] > 0 and cost["peak_mb"] > 10
    assert "rate 1" in (tiny.root / "_build/html/page.html").read_text()


def test_page_is_executed_again_when_the_package_changes_and_only_then(tiny):
    tiny.notebook()
    executed = tiny.root / "_build/.jupyter_cache"

    def outputs():
        [notebook] = executed.glob("*/executed/*/base.ipynb")
        return notebook.read_text()

    assert "unchanged" not in tiny.build("--execute").stdout
    assert "rate 1" in outputs()
    assert "page: unchanged" in tiny.build("--execute").stdout
    tiny.write("dlopt/sgd/sgd.py", "RATE = 2\n")
    assert "unchanged" not in tiny.build("--execute").stdout
    assert "rate 2" in outputs()


def test_everything_a_page_stands_on_is_in_the_key(tiny):
    from pages import cache_key

    keys = [cache_key(tiny.root)]
    for path in ("dlopt/sgd/sgd.py", "dlopt/new.py", "book/record.json", "constraints.txt"):
        tiny.write(path, "# changed\n")
        keys.append(cache_key(tiny.root))
    assert len(set(keys)) == len(keys)
    tiny.write("book/intro.md", "# Other prose\n")
    assert cache_key(tiny.root) == keys[-1]


def test_failing_notebook_fails_the_build(tiny):
    tiny.notebook("raise ValueError('broken on purpose')")
    done = tiny.build()
    assert done.returncode != 0
    assert "ValueError" in done.stderr and "broken on purpose" in done.stderr
    assert "these pages failed: page" in done.stderr


def test_sphinx_warning_fails_the_build(tiny):
    tiny.write("book/intro.md", "# A tiny book\n\n### A heading that skips a level\n")
    done = tiny.build()
    assert done.returncode != 0
    assert "WARNING" in done.stdout + done.stderr


def test_broken_references_fail_the_build(tiny):
    text = "# A tiny book\n\n[gone](gone.md), {numref}`gone`, {eq}`gone`, {term}`gone`, {cite:p}`gone`.\n"
    tiny.write("book/intro.md", text)
    done = tiny.build()
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert said.count("WARNING") >= 4, said


def test_failed_claim_is_shown_by_the_book_and_fails_the_tests(tiny):
    tiny.notebook(CLAIM.format(word="more than", holds=False, verdict="fails"))
    done = tiny.build("--execute")
    assert done.returncode == 0, done.stderr
    assert "CLAIM FAILED  page: One is more than two." in done.stdout
    assert 'class="verdict failed"' in (tiny.root / "_build/claims.md").read_text()
    claims = Path(__file__).with_name("test_claims.py")
    checked = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(claims), "-k", "holds"],
        env={**os.environ, "DLOPT_BUILD": str(tiny.root / "_build")},
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 1, checked.stdout
    assert "One is more than two." in checked.stdout


def test_the_average_of_the_pages_stands_beside_its_budget(capsys):
    costs = [dict(page="a", seconds=10.0, peak_mb=1), dict(page="b", seconds=40.0, peak_mb=2)]
    records.report([], costs)
    line = capsys.readouterr().out.splitlines()[0]
    assert "2 pages, 25.0 s on average, of a budget of 20 s" in line
    assert "- average, of a budget of 20" in records.times_table(costs) and "- 25.0" in records.times_table(costs)
