"""The lab's optional packages: imported when first needed, with a clear word when they are missing."""

import importlib
from types import ModuleType

__all__ = ["require"]


def require(name: str) -> ModuleType:
    """Import the module `name`, or say how to install it.

    Args:
        name: dotted module name, such as ``"scipy.stats"``.

    Returns:
        The imported module.

    Raises:
        ImportError: the package is not installed; the message names the extra that brings it.

    Example:
        >>> require("json").dumps([1, 2])
        '[1, 2]'
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.split(".")[0]
        if error.name is None or error.name.split(".")[0] != package:
            raise
        raise ImportError(f"{package} is not installed; it comes with: pip install 'dlopt[book]'") from error
