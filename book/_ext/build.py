"""Build the book: execute its pages, gather their records, make the site.

    python book/_ext/build.py            everything
    python book/_ext/build.py --execute  only the pages and their records

Exits with a failure if a page fails, or if Sphinx has a warning or meets a broken reference. A claim
that does not hold is shown in red and does not stop the build: the tests fail on it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import click
import pages
import records

ROOT = Path(__file__).resolve().parents[2]


@click.command(help=__doc__)
@click.option("--execute", "only_execute", is_flag=True, help="Execute the pages and stop there.")
def main(only_execute: bool) -> None:
    build = ROOT / "_build"
    build.mkdir(exist_ok=True)
    claims, costs = records.write(pages.execute(ROOT), build)
    if not only_execute:
        make_site(build)
    records.report(claims, costs)
    if not only_execute:
        click.secho(f"\nThe book is here: {(build / 'html' / 'index.html').as_uri()}", fg="green", bold=True)


def make_site(build: Path) -> None:
    """Run Sphinx from nothing: over old doctrees it would hide what is wrong."""
    for folder in ("html", ".doctrees", "jupyter_execute"):
        shutil.rmtree(build / folder, ignore_errors=True)
    command = [
        str(Path(sys.executable).with_name("jupyter-book")),
        "build",
        "book",
        "--config",
        "_config.yml",
    ]
    command += ["--path-output", ".", "-n", "-W", "--keep-going"]
    if subprocess.run(command, cwd=ROOT).returncode != 0:
        raise click.ClickException("Sphinx warned or failed; what it said stands above")


if __name__ == "__main__":
    main()
