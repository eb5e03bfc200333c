import subprocess
import sys

import myst_nb
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from dlopt.view import glue


class Drawn:
    def _repr_html_(self):
        return "<b>drawn</b>"


def published(function, *arguments, **keywords):
    InteractiveShell.instance()  # without one, text is printed
    with capture_output() as captured:
        function(*arguments, **keywords)
    (output,) = captured.outputs
    return output.data, output.metadata


@pytest.mark.parametrize("display", [True, False])
@pytest.mark.parametrize("variable", ["0.25", 3, Drawn()], ids=["text", "number", "html"])
def test_glue_publishes_what_myst_nb_does(variable, display):
    assert published(glue, "a name", variable, display) == published(myst_nb.glue, "a name", variable, display)


def test_sphinx_is_not_imported():
    code = "import sys; from dlopt.view import glue; glue('x', '1', display=False); assert 'sphinx' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
