"""What the theme leaves out for readers who hear the site or use it by keyboard, put in when it is built."""

from __future__ import annotations

import html
import re

# The sidebar is a landmark, and it and the dialogs want a name; the theme gives them none.
NAMES = {
    "pst-primary-sidebar": 'role="navigation" aria-label="Book"',
    "pst-primary-sidebar-modal": 'aria-label="Pages of the book"',
    "pst-secondary-sidebar-modal": 'aria-label="Contents of this page"',
    "pst-search-dialog": 'aria-label="Search"',
}
BARE = re.compile(r'<(div|dialog) id="([^"]*)"')
ARROW = re.compile(r'(<a class="[^"]*" href="[^"]*">([^<]*)</a><details[^>]*><summary)>')
SOLUTION = re.compile(r'Solution to(<a class="[^"]*" href="[^"]*">) ')


def mend(page: str) -> str:
    """The HTML of a finished page, with names for what has none.

    Args:
        page: HTML as the theme wrote it.

    Returns:
        The same, with labels on the arrows of the table of contents, on the sidebar and on the dialogs,
        entries of the bibliography that are items of their list (Sphinx gives them a role that ARIA has
        dropped), a solution's title underlined from its first word on, and no heading cell without a heading.

    Example:
        >>> mend('<a class="reference" href="adam.html">Adam</a><details open="open"><summary>')
        '<a class="reference" href="adam.html">Adam</a><details open="open"><summary aria-label="Pages under Adam">'
    """
    page = BARE.sub(lambda m: f'<{m[1]} {NAMES[m[2]]} id="{m[2]}"' if m[2] in NAMES else m[0], page)
    page = ARROW.sub(lambda m: f'{m[1]} aria-label="Pages under {html.escape(html.unescape(m[2].strip()))}">', page)
    page = page.replace('role="doc-biblioentry"', 'role="listitem"').replace("<th></th>", "<td></td>")
    return SOLUTION.sub(r"Solution to \1", page)
