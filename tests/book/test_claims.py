"""What the pages recorded when they were executed: every claim holds, every record is complete."""

import collections

import records

KEYS = {"id", "sentence", "kind", "holds", "verdict", "effect", "interval", "seeds", "page", "source"}
VERDICTS = {"confirmed", "contradicted", "undecided"}


def test_every_claim_holds(read):
    failed = [f"{c['page']}: {c['sentence']} ({c['verdict']})" for c in read("claims.json") if records.failed(c)]
    assert not failed, "\n".join(failed)


def test_records_are_complete(read):
    claims = read("claims.json")
    for claim in claims:
        assert set(claim) >= KEYS, claim
        assert claim["kind"] in ("claim", "assertion"), claim
        assert claim["sentence"] and claim["verdict"], claim
        if claim["kind"] == "assertion":
            assert claim["verdict"] in VERDICTS and claim["source"], claim
    repeated = [key for key, n in collections.Counter(c["id"] for c in claims).items() if n > 1]
    assert not repeated, repeated


def test_every_claim_is_on_the_site(read, site):
    page = (site / "claims.html").read_text()
    assert page.count('class="verdict ') == len(read("claims.json"))
