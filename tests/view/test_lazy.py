"""What importing `dlopt.view` costs, and what it says when the drawing stack is missing."""

import subprocess
import sys


def run(code):
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_importing_it_imports_nothing_heavy():
    out = run(
        "import sys, dlopt.view; print({'matplotlib', 'pandas', 'scipy', 'anywidget', 'ipywidgets'} & {*sys.modules})"
    )
    assert out.strip() == "set()"


def test_a_missing_matplotlib_says_what_to_install():
    out = run(
        "import sys; sys.modules['matplotlib'] = None\n"
        "from dlopt.view import lines\n"
        "try: lines({'a': ([0, 1], [0, 1])}, xlabel='x', ylabel='y', alt='A line that rises from 0 to 1.')\n"
        "except ImportError as error: print(error)"
    )
    assert "pip install 'dlopt[book]'" in out
