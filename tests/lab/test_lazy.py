import subprocess
import sys

import pytest

import dlopt.lab
from dlopt.lab.optional import require


def in_new_interpreter(program):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_import_is_cheap():
    heavy = "{'sklearn', 'scipy', 'pandas', 'joblib', 'matplotlib'}"
    program = f"import sys, dlopt.lab; print(sorted({heavy} & set(sys.modules)))"
    assert in_new_interpreter(program).strip() == "[]"


def test_training_does_not_import_torchs_compiler():
    """It would take seconds and some 100 MB, in every process."""
    program = """
import sys, torch, dlopt
from dlopt.lab.tasks import least_squares
from dlopt.lab.training import Job, train
p = torch.ones(3, requires_grad=True)
opt = dlopt.SGD([p], lr=0.1, momentum=0.9)
p.square().sum().backward()
opt.step()
opt.zero_grad()
opt.load_state_dict(opt.state_dict())
train(Job(least_squares(), dlopt.Adam, {"lr": 0.1}, 0, 2, 16, 1, lambda t: 1.0))
print(p.grad, "torch._dynamo" in sys.modules)
"""
    assert in_new_interpreter(program).strip() == "None False"


def test_data_and_intervals_import_neither_scikit_learn_nor_scipys_statistics():
    program = """
import sys
from dlopt import lab
lab.data.digits(), lab.data.wine(), lab.mean_interval([1.0, 2.0]), lab.bootstrap_interval([1.0, 2.0])
print(sorted({"sklearn", "scipy.stats"} & set(sys.modules)))
"""
    assert in_new_interpreter(program).strip() == "[]"


def test_every_public_name_is_there():
    for name in dlopt.lab.__all__:
        assert getattr(dlopt.lab, name) is not None
        assert name in dir(dlopt.lab)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        dlopt.lab.nothing  # noqa: B018


@pytest.mark.parametrize(
    ("package", "use"),
    [
        ("sklearn", "dlopt.lab.data.digits()"),
        ("scipy", "dlopt.lab.mean_interval([1.0, 2.0])"),
        ("pandas", "dlopt.lab.run(task, methods, seeds=[0], steps=1, cache=False)"),
        ("joblib", "dlopt.lab.run(task, methods, seeds=[0], steps=1, cache=False)"),
        ("tqdm", "dlopt.lab.run(task, methods, seeds=[0], steps=1, cache=False)"),
    ],
)
def test_missing_package_says_what_to_install(package, use, monkeypatch):
    import torch

    task = dlopt.lab.TASKS["heavy_tailed_softmax"](groups=2)
    methods = {"sgd": lambda params: torch.optim.SGD(params, lr=0.1)}
    dlopt.lab.data.digits.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"{package} is not installed.*pip install 'dlopt\[book\]'"):
        eval(use, {"dlopt": dlopt, "task": task, "methods": methods})


def test_a_package_broken_inside_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("import no_such_module_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_module_at_all"):
        require("broken_package")
