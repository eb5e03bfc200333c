"""The tree as a stranger finds it: short files, no traces of a machine, one lock, one version."""

import importlib.metadata
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
LINES = 300
# Spelled in two halves, so that this file does not find itself.
HOSTS = ["py" + "pi.org", "python" + "hosted.org", "download.py" + "torch.org", "conda." + "anaconda.org"]
TRACES = re.compile(r"(?<![\w.$)}/-])/(?:work|root|home|Users|mnt|opt)/|(?<![\w.])/tm" + r"p/\w")
UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b|NotImplemented" + "Error")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def files():
    """What git keeps or would keep; all files where this is no repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
    )
    names = listed.stdout.decode().split("\0") if listed.returncode == 0 else []
    paths = [ROOT / name for name in names if name] or list((ROOT / "dlopt").rglob("*.py"))
    return [path for path in paths if path.is_file()]


def faults(text):
    """What must not stand in a file of this project."""
    return [host for host in HOSTS if host in text] + TRACES.findall(text) + UNFINISHED.findall(text)


def test_no_traces_of_a_machine_and_nothing_unfinished():
    for path in files():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        assert not faults(text), path


@pytest.mark.parametrize("text", [f"see {HOSTS[0]}", "cd /ro" + "ot/x", "raise NotImplemented" + "Error"])
def test_such_a_trace_is_found(text):
    assert faults(text)


def test_no_long_file():
    for path in (ROOT / "dlopt").rglob("*.py"):
        assert len(path.read_text().splitlines()) <= LINES, path


def test_three_trees_have_the_same_rooms():
    rooms = {path.parent.name for path in (ROOT / "dlopt").glob("*/__init__.py")}
    tested = {path.name for path in (ROOT / "tests").iterdir() if any(path.glob("test_*.py"))}
    assert rooms <= tested
    assert tested - rooms == {"book", "house"}


def test_type_hints_are_shipped():
    assert (ROOT / "dlopt" / "py.typed").exists()


def test_the_lock_names_everything_installed():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    lock = dict(re.match(r"([\w.-]+)==([^\s;]+)", line).groups() for line in lines)
    lock = {normal(name): version for name, version in lock.items()}
    assert lock["torch"] == "2.13.0"
    # setuptools, once imported, shows packages of its own beside those of the environment
    for installed in importlib.metadata.distributions(path=[sysconfig.get_path("purelib")]):
        name = normal(installed.name)
        if name not in ("dlopt", "pip", "setuptools", "wheel") and not name.startswith(("nvidia", "cuda")):
            assert lock.get(name) == installed.version.split("+")[0], f"{installed.name} {installed.version}"


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_one_version_everywhere():
    import dlopt

    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == PROJECT["version"]
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()
    assert dlopt.__version__ == PROJECT["version"]


def test_actions_run_every_python_that_is_promised():
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    pythons = jobs["book"]["strategy"]["matrix"]["python"]
    assert PROJECT["requires-python"] == f">={pythons[0]},<3.{int(pythons[-1].split('.')[1]) + 1}"
    assert {step.get("run") for step in jobs["book"]["steps"]} >= {"make book", "make test"}


def test_the_wheel_holds_the_package_and_nothing_else(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    [wheel] = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"dlopt"}
    assert "dlopt/py.typed" in names
