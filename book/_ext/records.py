"""What the pages recorded, written for the tests (JSON) and for the reader (tables of the site)."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import click
from pages import Page

NO_CLAIMS = "No page has recorded a claim."
NO_PAGES = "No page has been executed."
AVERAGE_SECONDS, MOST_SECONDS = 20, 60  # of a page, on two idle cores


def write(pages: list[Page], build: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Write claims.json, pages.json and the two tables into the build folder. Returns claims and costs."""
    claims = [record for page in pages for record in page.records()]
    costs = [{"page": page.name, "seconds": page.seconds, "peak_mb": page.peak_mb} for page in pages]
    (build / "claims.json").write_text(json.dumps(claims, indent=1) + "\n")
    (build / "pages.json").write_text(json.dumps(costs, indent=1) + "\n")
    (build / "claims.md").write_text(claims_table(claims))
    (build / "times.md").write_text(times_table(costs))
    return claims, costs


def failed(claim: dict[str, Any]) -> bool:
    """Only a sentence of our own can fail; a contradicted quotation is a result."""
    return claim["kind"] == "claim" and not claim["holds"]


def claims_table(claims: list[dict[str, Any]]) -> str:
    rows = []
    for claim in claims:
        style = "failed" if failed(claim) else claim["verdict"] if claim["kind"] == "assertion" else "holds"
        verdict = f'<span class="verdict {html.escape(str(style))}">{html.escape(str(claim["verdict"]))}</span>'
        sentence = one_line(claim["sentence"])
        if claim.get("source"):
            sentence += f" *{one_line(claim['source'])}*"
        effect = number(claim.get("effect")) + interval(claim.get("interval"))
        rows.append([sentence, verdict, effect, seeds(claim.get("seeds")), f"[](/{claim['page']})"])
    head = ["Sentence", "Verdict", "Effect (interval)", "Seeds", "Page"]
    return list_table(head, rows, "42 14 20 8 16") if rows else NO_CLAIMS + "\n"


def times_table(costs: list[dict[str, Any]]) -> str:
    rows = [[f"[](/{c['page']})", f"{c['seconds']:.1f}", f"{c['peak_mb']:.0f}"] for c in costs]
    total = sum(c["seconds"] for c in costs)
    rows.append(["all pages", f"{total:.1f}", f"{max((c['peak_mb'] for c in costs), default=0):.0f}"])
    rows.append([f"average, of a budget of {AVERAGE_SECONDS}", f"{total / max(len(costs), 1):.1f}", ""])
    return list_table(["Page", "Seconds", "Peak memory, MB"], rows, "60 20 20") if costs else NO_PAGES + "\n"


def list_table(head: list[str], rows: list[list[str]], widths: str) -> str:
    lines = ["```{list-table}", ":header-rows: 1", f":widths: {widths}", ":class: records", ""]
    for row in [head, *rows]:
        lines += [f"{'* -' if i == 0 else '  -'} {cell}" for i, cell in enumerate(row)]
    return "\n".join([*lines, "```", ""])


def one_line(text: str) -> str:
    return " ".join(text.split())


def number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, int | float) else one_line(str(value or "—"))


def interval(value: Any) -> str:
    return f" ({number(value[0])} to {number(value[1])})" if value else ""


def seeds(value: Any) -> str:
    """How many: of a claim they come as disjoint sets, of an assertion as one list."""
    flat = [seed for part in value or [] for seed in (part if isinstance(part, list) else [part])]
    return str(len(flat)) if flat else "—"


def report(claims: list[dict[str, Any]], costs: list[dict[str, Any]]) -> None:
    """Say on the terminal what the pages cost, how many claims hold, and in red which do not."""
    if costs:
        average = sum(cost["seconds"] for cost in costs) / len(costs)
        over = average > AVERAGE_SECONDS
        line = f"{len(costs)} pages, {average:.1f} s on average, of a budget of {AVERAGE_SECONDS} s"
        click.secho(line, fg="red" if over else None, bold=over)
    for cost in costs:
        if cost["seconds"] > MOST_SECONDS:
            click.secho(f"OVER {MOST_SECONDS} s  {cost['page']}: {cost['seconds']:.0f} s", fg="red", bold=True)
    ours = [claim for claim in claims if claim["kind"] == "claim"]
    bad = [claim for claim in ours if failed(claim)]
    for claim in bad:
        click.secho(f"CLAIM FAILED  {claim['page']}: {one_line(claim['sentence'])}", fg="red", bold=True)
    click.echo(f"{len(ours) - len(bad)} of {len(ours)} claims hold; {len(claims) - len(ours)} quotations tested")
