"""Results by name, for the text of a page."""

from typing import Any


def glue(name: str, variable: Any, display: bool = True) -> None:
    """Keep `variable` in the page's outputs, for the roles and directives that MyST-NB calls ``glue``.

    The same as ``myst_nb.glue``, whose first call imports all of Sphinx: three seconds and 60 MB a page.

    Args:
        name: what the text calls it.
        variable: anything that a notebook can show.
        display: show it below the cell as well.

    Raises:
        ImportError: IPython is missing.

    Example:
        >>> glue("loss", "0.25", display=False)
    """
    from IPython.core.formatters import format_display_data
    from IPython.display import display as publish

    bundle, metadata = format_display_data(variable)
    prefix = "" if display else "application/papermill.record/"
    told = metadata | {"scrapbook": {"name": name, "mime_prefix": prefix}}
    publish({prefix + kind: data for kind, data in bundle.items()}, raw=True, metadata=told)
