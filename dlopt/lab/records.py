"""What a claim leaves behind: a record that can be written as JSON, and one printed line."""

import hashlib
import html
import math
import re
import sys
from typing import Any

__all__ = ["Record", "make_record", "show_record"]


class Record(dict[str, Any]):
    """What became of a claim or an assertion.

    Keys: `id`, `sentence`, `kind` ("claim" or "assertion"), `holds` (bool, None if undecided), `verdict`,
    `effect`, `interval`, `seeds`, `page` (filled in when the pages are collected), `source`.
    Infinite numbers and NaN are strings, because JSON has none.
    """

    def _ipython_display_(self) -> None:
        """Nothing more to show: the line was printed when the record was made."""


def make_record(
    sentence: str,
    kind: str,
    id: str | None,
    holds: bool | None,
    verdict: str,
    effect: float,
    interval: tuple[float, float] | None,
    seeds: list[Any] | None,
    source: str | None,
) -> Record:
    """The record of a sentence that has been judged; the arguments are its keys.

    Without an `id` it is made from the sentence: letters, digits and dashes, a long one cut and given a hash.

    Example:
        >>> make_record("GD misses.", "claim", None, True, "holds", math.inf, None, None, None)["effect"]
        'inf'
    """
    return Record(
        id=id or _slug(sentence),
        sentence=sentence,
        kind=kind,
        holds=holds,
        verdict=verdict,
        effect=_json(effect),
        interval=None if interval is None else [_json(end) for end in interval],
        seeds=seeds,
        page=None,
        source=source,
    )


def show_record(record: Record, bound: str, level: float, digits: int) -> Record:
    """Print one line; in a notebook also carry the record as metadata, and show a failed claim in red.

    Args:
        record: what to show.
        bound: the bound in words.
        level: confidence of the record's interval.
        digits: significant digits; 0 leaves effect and interval out.

    Returns:
        The same record.

    Example:
        >>> record = make_record("Twice two is four", "claim", None, True, "holds", 4.0, None, None, None)
        >>> _ = show_record(record, "= 4", 0.95, digits=1)
        ✓ Twice two is four: 4 (= 4)
    """
    mark = {True: "✓", False: "✗", None: "?"}[record["holds"]]
    line = f"{mark} {record['sentence']}"
    if record["kind"] == "assertion":
        line = f"{mark} {record['verdict']}: “{record['sentence']}” ({record['source']})"
    if digits:
        line += f": {float(record['effect']):.{digits}g}"
    if digits and record["interval"]:
        low, high = (f"{float(end):.{digits}g}" for end in record["interval"])
        line += f", {100 * level:g}% interval [{low}, {high}]"
    line += f" ({bound})"
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        print(line)
        return record
    failed = record["kind"] == "claim" and not record["holds"]
    style = ' style="color:#fff;background:#b3261e;padding:.1em .4em;font-weight:bold"' if failed else ""
    kinds = f"dlopt-{record['kind']} dlopt-{record['verdict']}"
    shown = {"text/plain": line, "text/html": f'<div class="{kinds}"{style}>{html.escape(line)}</div>'}
    sys.modules["IPython"].display.display(shown, raw=True, metadata={"dlopt": dict(record)})
    return record


def _json(value: float) -> float | str:
    return float(value) if math.isfinite(value) else str(float(value))


def _slug(sentence: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", sentence.lower()).strip("-")
    if len(slug) <= 60:
        return slug
    return f"{slug[:52].strip('-')}-{hashlib.sha256(sentence.encode()).hexdigest()[:7]}"
