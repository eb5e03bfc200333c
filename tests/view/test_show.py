"""`show`: equation and source, both from the code."""

import pytest

from dlopt.engine.faces.latex import latex
from dlopt.sgd import schedules
from dlopt.sgd.sgd import SGD, heavy_ball, sgd
from dlopt.view import Shown, show
from dlopt.view.show import source_of


def test_a_rule_is_its_equation_beside_its_source():
    shown = show(heavy_ball)
    markdown = shown._repr_mimebundle_()["text/markdown"]
    assert markdown.startswith("$$\n" + latex(heavy_ball) + "\n$$\n\n```python\ndef heavy_ball(g, p, b, *,")
    assert markdown.endswith("```\n") and "<" not in markdown
    assert shown._repr_mimebundle_()["text/plain"] == shown.source == source_of(heavy_ball)


def test_a_class_shows_every_rule_and_what_depends_on_the_step():
    shown = show(SGD)
    assert isinstance(shown, Shown) and shown.name == "SGD"
    for rule in (*SGD.rules, SGD.scalars):
        assert source_of(rule) in shown.source
    assert shown.latex.count(r"\begin{aligned}") == shown.latex.count(r"\end{aligned}") == len(SGD.rules)
    assert r"\textbf{heavy ball} \\" in shown.latex
    assert latex(sgd) in shown.latex and latex(heavy_ball, scalars=SGD.scalars) in shown.latex


def test_a_schedule_is_its_equation_and_a_composition_all_of_them():
    cosine = schedules.cosine(10)
    assert show(cosine).latex == show(cosine.function).latex == latex(cosine.function)
    assert r"\cos\left(\frac{\pi t}{T}\right)" in show(cosine).latex
    assert show(cosine).source == source_of(cosine.function) and show(cosine).name == "cosine(steps=10)"
    twice = show(schedules.warmup(3, cosine) * cosine)
    assert twice.source.count("def _cosine(") == twice.source.count("def _linear(") == 1
    assert r"\textbf{linear} \\" in twice.latex and r"\textbf{cosine} \\" in twice.latex


def test_the_docstring_is_left_out_and_comments_stay():
    def documented(g):
        """What it does,

        at length.
        """
        # why
        return -g

    assert source_of(documented) == "def documented(g):\n    # why\n    return -g"


@pytest.mark.parametrize("wrong", [3, "sgd", int, len])
def test_other_things_are_refused(wrong):
    with pytest.raises(TypeError, match="show takes a rule or an optimizer class"):
        show(wrong)
