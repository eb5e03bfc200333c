"""The landscape explorer as Python sees it: its two faces, its traits, its paths, bad input."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from types import FunctionType

import numpy as np
import pytest
from traitlets import TraitError

import dlopt
from dlopt.engine import RuleOptimizer, xp
from dlopt.lab.counter_noise import counter_noise
from dlopt.lab.landscapes import LANDSCAPES, quadratic, ravine
from dlopt.view import explore
from dlopt.view.explore import controls, entrants
from dlopt.view.explore.widget import source
from dlopt.view.style import PALETTE

STATE = ("landscape", "start", "optimizers", "steps", "noise", "seed", "step", "view")


def mine(g, p, *, lr):
    return -lr * xp.sign(g)


def plain(g, p, *, lr):
    return -lr * g


class Mine(RuleOptimizer):
    rules = (mine,)

    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr})


class Odd(Mine):
    def rule(self, group, t):
        return [rule for rule in self.rules][0]


def outside(g, p, *, lr):
    return -lr * g @ p


def state(explorer):
    return {name: getattr(explorer, name) for name in STATE}


def test_it_has_two_faces_and_is_light():
    explorer = explore.landscape()
    data, _ = explorer._repr_mimebundle_()
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == explorer.model_id
    assert data["text/plain"].startswith("Level lines of the landscape ravine with the paths of SGD, Adam")
    html = data["text/html"]
    assert len(html.encode()) < 160_000
    assert not re.search(r'src=|href="[^#]|https?://(?!www\.w3\.org)', html)
    assert html.count("<script>") == html.count("</script>") == 1


def test_the_still_says_what_it_shows():
    still = explore.landscape(optimizers=["SGD", "SGD", "Lion"]).still()
    assert "SGD 1, SGD 2, Lion" in still.alt
    assert f'aria-label="{still.alt}"' in still.svg


def test_the_series_have_the_colours_of_the_house():
    light = source("explore.css").split("}")[1]
    assert re.findall(r"--series-\d: (#\w+)", light) == list(PALETTE[:4])


@pytest.mark.parametrize("name", LANDSCAPES)
def test_no_landscape_makes_a_heavy_page(name):
    assert len(explore.landscape(name, steps=20).html().encode()) < 200_000


def test_importing_it_imports_no_widget():
    code = "import sys, dlopt.view.explore; print({'anywidget', 'ipywidgets', 'matplotlib'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_without_anywidget_it_says_what_to_install():
    code = "import sys; sys.modules['anywidget'] = None\nfrom dlopt.view import explore\nexplore.landscape()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'dlopt[book]'" in done.stderr


def test_learning_rates_fit_the_landscape():
    explorer = explore.landscape("ravine", optimizers=["SGD", "Adam", "Adadelta", ("SGD", {"lr": 0.5})])
    assert [each["hyper"]["lr"] for each in explorer.optimizers] == [0.005, 0.1, 1.0, 0.5]
    explorer.landscape = "booth"
    assert explorer.start == LANDSCAPES["booth"].start
    assert [each["hyper"]["lr"] for each in explorer.optimizers] == [0.03, 0.2, 1.0, 0.03]


@pytest.mark.parametrize("name", LANDSCAPES)
def test_every_landscape_has_a_learning_rate_that_does_not_diverge_at_once(name):
    explorer = explore.landscape(name, optimizers=["SGD", "Adam"], steps=20)
    assert np.isfinite(explorer.paths()).all()


@pytest.mark.parametrize("cls", [each.cls for each in entrants.public_optimizers().values()], ids=lambda c: c.__name__)
def test_every_number_has_a_slider(cls):
    values = controls.hyperparameters(cls)
    shown = {control["key"] for control in controls.controls(values)}
    assert shown == values.keys()
    for control in controls.controls(values):
        value = values[control["key"]] if control["index"] is None else values[control["key"]][control["index"]]
        if "low" in control:
            assert control["least"] <= value <= control["most"]


def test_paths_are_those_of_the_landscape():
    explorer = explore.landscape("beale", optimizers=[("Adam", {"lr": 0.1, "betas": (0.8, 0.99)}), mine], steps=30)
    alone = LANDSCAPES["beale"].path(lambda p: dlopt.Adam(p, lr=0.1, betas=(0.8, 0.99)), steps=30)
    paths = explorer.paths()
    assert paths.shape == (2, 31, 2)
    np.testing.assert_array_equal(paths[0], alone)


def test_noise_is_added_to_the_gradient():
    explorer = explore.landscape("quadratic", optimizers=[("SGD", {"lr": 0.01})], steps=1, noise=2.0, seed=9)
    [[first, second]] = explorer.paths()
    gradient = np.array(LANDSCAPES["quadratic"].gradient(*first))
    expected = first - 0.01 * (gradient + 2.0 * np.array(counter_noise(1.0, seed=9.0)))
    np.testing.assert_allclose(second, expected, rtol=1e-15)


@pytest.mark.parametrize(
    "explorer",
    [
        lambda: explore.landscape(),
        lambda: explore.landscape(quadratic(7.0), optimizers=[(Mine, {"lr": 0.3}), mine, "Adam"], noise=0.5, seed=3),
        lambda: explore.landscape(ravine(50.0, 0.3), step=17),
        lambda: explore.landscape(replace(quadratic(7.0), name="bowl"), steps=50, step=0),
        lambda: explore.landscape("beale", start=(1, 2), optimizers=[("AdamW", {"betas": (0.5, 0.9)})], view="solid"),
    ],
)
def test_its_python_makes_the_same_explorer(explorer):
    explorer = explorer()
    scope = {"explore": explore, "Mine": Mine, "mine": mine, "quadratic": quadratic, "ravine": ravine}
    made = eval(explorer.python(), scope | {"bowl": replace(quadratic(7.0), name="bowl")})
    assert state(made) == state(explorer)
    np.testing.assert_array_equal(made.paths(), explorer.paths())


def called(name, rule):
    """A copy of a rule or class, by another name."""
    made = type(name, (rule,), {}) if isinstance(rule, type) else FunctionType(rule.__code__, rule.__globals__, name)
    return made


@pytest.mark.parametrize(
    ("optimizers", "said"),
    [
        ([(mine, {"lr": 0.1}), (called("mine", plain), {"lr": 0.01})], "two different optimizers are called 'mine'"),
        ([Mine, called("Mine", Mine)], "two different optimizers are called 'Mine'"),
        (["Adam", called("Adam", Mine)], "Adam is the name of an optimizer of dlopt"),
        ([called("Adam", Mine)], "Adam is the name of an optimizer of dlopt"),
    ],
)
def test_a_name_means_one_optimizer(optimizers, said):
    with pytest.raises(ValueError, match=said):
        explore.landscape(optimizers=optimizers)


def test_one_rule_may_run_twice_and_be_written_anew():
    explorer = explore.landscape("booth", optimizers=[(mine, {"lr": 0.1}), (mine, {"lr": 0.2})], steps=3)
    assert np.abs(np.diff(explorer.paths(), axis=1)).max((1, 2)) == pytest.approx([0.1, 0.2])
    explorer.optimizers = [(called("mine", plain), {"lr": 0.01})]
    assert np.diff(explorer.paths(), axis=1)[0, 0] == pytest.approx(
        -0.01 * np.array(LANDSCAPES["booth"].gradient(-7, -5))
    )


def test_traits_can_be_set_with_classes_and_rules():
    explorer = explore.landscape()
    explorer.optimizers = [Mine, ("Lion", {"lr": 0.2})]
    assert [each["name"] for each in explorer.optimizers] == ["Mine", "Lion"]
    assert '"Mine"' in explorer.code
    explorer.steps = 50
    assert explorer.step == 50 and explorer.paths().shape == (2, 51, 2)


def test_a_browser_may_set_landscape_start_and_rates_together():
    explorer = explore.landscape()
    explorer.set_state(
        {"landscape": "beale", "start": [0.5, 2], "optimizers": [{"name": "SGD", "hyper": {"lr": 1e-4}}]}
    )
    assert explorer.start == (0.5, 2.0)
    assert explorer.optimizers == [{"name": "SGD", "hyper": {"lr": 1e-4}}]


def test_a_setting_that_only_a_switch_can_take_is_shown_and_no_more():
    explorer = explore.landscape(optimizers=["SGD", "Adam"])
    switched = {"name": "SGD", "hyper": {"lr": 0.01, "nesterov": True}}
    explorer.set_state({"optimizers": [switched, explorer.optimizers[1]]})
    assert explorer.optimizers[0] == switched
    assert np.isfinite(explorer.paths()).all((1, 2)).tolist() == [False, True]
    explorer.landscape = "booth"
    assert explorer.start == LANDSCAPES["booth"].start
    assert explorer.optimizers[0]["hyper"] == {"lr": 0.03, "nesterov": True}
    with pytest.raises(ValueError, match="Nesterov momentum requires a momentum"):
        eval(explorer.python(), {"explore": explore})
    with pytest.raises(ValueError, match="Nesterov momentum requires a momentum"):
        explorer.optimizers = [switched]


@pytest.mark.parametrize("order", [("landscape", "start", "steps", "step"), ("start", "step", "steps", "landscape")])
def test_what_is_set_together_stays_as_it_is_set(order):
    explorer, given = explore.landscape(), {"landscape": "booth", "start": (1.0, 1.0), "steps": 50, "step": 10}
    with explorer.hold_trait_notifications():
        for name in order:
            setattr(explorer, name, given[name])
    assert {name: getattr(explorer, name) for name in given} == given
    assert explorer.optimizers[0]["hyper"] == {"lr": 0.03, "momentum": 0.9}, "its rates follow: nobody has set them"


@pytest.mark.parametrize(
    "given, said",
    [
        ({"landscape": "alps"}, "no landscape is called 'alps'"),
        ({"optimizers": ["Adamm"]}, "no optimizer is called 'Adamm'"),
        ({"optimizers": []}, "0 optimizers"),
        ({"optimizers": ["SGD"] * 5}, "5 optimizers"),
        ({"optimizers": [("SGD", {"lr": -1.0})]}, "Invalid learning rate"),
        ({"optimizers": [("SGD", {"lr": 1.0, "nesterov": True})]}, "Nesterov momentum"),
        ({"start": (float("nan"), 0.0)}, "two finite numbers"),
        ({"steps": 0}, "steps=0"),
        ({"noise": -1.0}, "noise=-1.0"),
        ({"seed": -1}, "seed=-1"),
        ({"step": 201}, "step=201 must be between 0 and 200"),
    ],
)
def test_wrong_values_are_refused(given, said):
    with pytest.raises(ValueError, match=said):
        explore.landscape(**given)


@pytest.mark.parametrize(
    "given", [{"optimizers": [("SGD", {"speed": 1.0})]}, {"optimizers": [3]}, {"optimizers": [int]}]
)
def test_wrong_types_are_refused(given):
    with pytest.raises(TypeError):
        explore.landscape(**given)


@pytest.mark.parametrize("given", [{"steps": "many"}, {"view": "tilted"}, {"start": (1.0,)}])
def test_wrong_traits_are_refused(given):
    with pytest.raises(TraitError):
        explore.landscape(**given)


@pytest.mark.parametrize(
    "optimizer, said",
    [
        (Odd, "GrammarError: Odd.rule"),
        (
            outside,
            "GrammarError: outside: the operator 'MatMult' is not in the grammar (in the line: return -lr * g @ p)",
        ),
        ("Muon", "TypeError: Muon has no element-wise rule"),
    ],
)
def test_what_cannot_run_in_a_browser_is_said_there(optimizer, said):
    explorer = explore.landscape(optimizers=[optimizer, "SGD"])
    assert json.dumps(said)[1:-1] in explorer.code
    assert np.isfinite(explorer.paths()[1]).all()
    assert explorer.html()


def test_a_landscape_outside_the_grammar_still_appears():
    odd = replace(LANDSCAPES["booth"], name="odd", f=lambda x, y: float(np.hypot(x, y)))
    explorer = explore.landscape(odd)
    assert "GrammarError: a rule is a plain function" in explorer.code
    assert "no values to draw" in explorer.html()
