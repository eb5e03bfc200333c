"""What the theme leaves out for readers who hear the site or use it by keyboard, put in when it is built."""

from __future__ import annotations

import html
import re

# A landmark and dialogs want a name; the theme gives them none.
NAMED = {
    '<div id="pst-primary-sidebar" class="bd-sidebar-primary': '<div role="navigation" aria-label="Book" id="pst-primary-sidebar" class="bd-sidebar-primary',
    '<dialog id="pst-search-dialog">': '<dialog id="pst-search-dialog" aria-label="Search">',
    '<dialog id="pst-primary-sidebar-modal">': '<dialog id="pst-primary-sidebar-modal" aria-label="Pages of the book">',
    '<dialog id="pst-secondary-sidebar-modal">': '<dialog id="pst-secondary-sidebar-modal" aria-label="Contents of this page">',
}
ARROW = re.compile(r'(<a class="[^"]*" href="[^"]*">([^<]*)</a><details[^>]*><summary)>')
SOLUTION = re.compile(r'Solution to(<a class="[^"]*" href="[^"]*">) ')


def mend(page: str) -> str:
    """The HTML of a finished page, with names for what has none.

    Args:
        page: HTML as the theme wrote it.

    Returns:
        The same, with labels on the arrows of the table of contents, on the sidebar and on the dialogs,
        and a solution's title underlined from its first word on.

    Example:
        >>> mend('<a class="reference" href="adam.html">Adam</a><details open="open"><summary>')
        '<a class="reference" href="adam.html">Adam</a><details open="open"><summary aria-label="Pages under Adam">'
    """
    for bare, named in NAMED.items():
        page = page.replace(bare, named)
    page = ARROW.sub(lambda m: f'{m[1]} aria-label="Pages under {html.escape(html.unescape(m[2].strip()))}">', page)
    return SOLUTION.sub(r"Solution to \1", page)
