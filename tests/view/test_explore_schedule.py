"""The schedule explorer as Python sees it, and in a browser from the disk, with the network off and no kernel."""

import json
import re

import numpy as np
import pytest
from traitlets import TraitError

from dlopt.engine import xp
from dlopt.lab.schedule_families import FAMILIES, composed
from dlopt.lab.schedule_runs import recorded_runs
from dlopt.sgd import schedules
from dlopt.view import explore
from dlopt.view.explore.schedule_tables import code, controls_of
from dlopt.view.explore.widget import source

from .pages import colours, copied, copied_call, frames, ready, set_slider, settle

racer = pytest.importorskip("py_mini_racer", reason="mini-racer runs the translated code")

STATE = ("schedules", "lr", "momentum", "noise", "steps", "seed", "step", "recorded")


def sawtooth(t):
    scale = 1 - t / 8 + xp.floor(t / 8)
    return scale


def hopeless(t):
    scale = xp.log(t - 5)
    return scale


def state(explorer):
    return {name: getattr(explorer, name) for name in STATE}


def test_it_has_two_faces_and_is_light():
    explorer = explore.schedule()
    data, _ = explorer._repr_mimebundle_()
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == explorer.model_id
    html = data["text/html"]
    assert len(html.encode()) < 200_000
    assert not re.search(r'src=|href="[^#]|https?://(?!www\.w3\.org)', html)
    assert html.count("<script>") == html.count("</script>") == 1


def test_the_still_says_what_it_shows():
    still = explore.schedule(["step", "step", "linear"]).still()
    assert "step 1, step 2, linear" in still.alt
    assert f'aria-label="{still.alt}"' in still.svg


@pytest.fixture(scope="module")
def v8():
    context = racer.MiniRacer()
    own = {"teeth": schedules.Formula(sawtooth), "both": schedules.linear(40) * schedules.step(15, gamma=0.5),
           "then": schedules.sequential([schedules.constant(0.5), schedules.exponential(0.9)], [7])}  # fmt: skip
    context.eval(f"{source('schedules.js')}\nglobalThis.tables = (() => {{ {code(own)} }})();")
    return context


def in_v8(v8, name, settings, steps):
    found = v8.eval(f"""(() => {{
        const {{factors, error}} = factorsOf(tables, {json.dumps(name)}, tables.schedules[{json.dumps(name)}], {json.dumps(settings)}, {steps});
        return JSON.stringify([error ?? "", Array.from(factors, String)]);
    }})()""")
    error, factors = json.loads(found)
    return error, np.array([float(value.replace("Infinity", "inf")) for value in factors])


def drawn(rng, control):
    """A random value that a control allows."""
    match control["kind"]:
        case "menu":
            return str(rng.choice(control["options"]))
        case "switch":
            return bool(rng.random() < 0.5)
        case "whole":
            return int(rng.integers(control["least"], 60))
        case "log":
            return float(np.exp(rng.uniform(np.log(control["low"]), np.log(control["high"]))))
        case _:
            return float(rng.choice([control["low"], rng.uniform(control["low"], control["high"])]))


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_put_together_as_in_python(v8, name):
    rng = np.random.default_rng(sorted(FAMILIES).index(name))
    ran = 0
    for _ in range(200):
        settings = {}
        for control in controls_of(FAMILIES[name]):
            value = drawn(rng, control)
            if control["index"] is None:
                settings[control["key"]] = value
            else:
                settings.setdefault(control["key"], []).append(value)
        steps = int(rng.integers(2, 120))
        error, factors = in_v8(v8, name, settings, steps)
        try:
            schedule = composed(name, settings, steps)
            expected = np.array([schedule(t) for t in range(steps + 1)])
        except ValueError as refused:
            assert error in str(refused) and error, (settings, steps, refused)
            assert np.isnan(factors).all()
            continue
        if not np.isfinite(expected).all():
            assert "its factor at step" in error
            continue
        assert error == "", (settings, steps)
        np.testing.assert_allclose(factors, expected, rtol=1e-9, atol=1e-12, err_msg=f"{settings}, {steps}")
        ran += 1
    assert ran > 20


@pytest.mark.parametrize(
    ("name", "schedule"),
    [
        ("teeth", schedules.Formula(sawtooth)),
        ("both", schedules.linear(40) * schedules.step(15, gamma=0.5)),
        ("then", schedules.sequential([schedules.constant(0.5), schedules.exponential(0.9)], [7])),
    ],
)
def test_the_readers_own_are_translated_whole(v8, name, schedule):
    error, factors = in_v8(v8, name, {}, 50)
    assert error == ""
    np.testing.assert_allclose(factors, [schedule(t) for t in range(51)], rtol=1e-12)


def test_factors_are_those_of_the_schedules():
    explorer = explore.schedule(["one_cycle", ("cosine", {"warmup": 10, "floor": 0.1}), sawtooth], steps=40)
    expected = [
        schedules.one_cycle(40),
        schedules.warmup(10, schedules.cosine(30, 0.1, hold=True)),
        lambda t: 1 - t / 8 + t // 8,
    ]
    np.testing.assert_allclose(
        explorer.factors(), [[s(t) for t in range(41)] for s in expected], rtol=1e-12, atol=1e-15
    )


def test_losses_are_those_of_sgd_by_hand():
    from dlopt.lab.counter_noise import counter_noise

    explorer = explore.schedule(["linear"], lr=0.05, momentum=0.9, noise=0.7, steps=12, seed=4)
    total = np.zeros(13)
    for run in range(16):
        p, b = np.array([-4.0, 1.0]), np.zeros(2)
        total[0] += (p[0] ** 2 + 20 * p[1] ** 2) / 32
        for t in range(12):
            g = p * [1.0, 20.0] + 0.7 * np.array(counter_noise(t + 1.0, seed=4.0 + run))
            b = 0.9 * b + g
            p = p - 0.05 * (1 - t / 12) * b
            total[t + 1] += (p[0] ** 2 + 20 * p[1] ** 2) / 32
    np.testing.assert_allclose(explorer.losses()[0], total, rtol=1e-12)


OWN = {"explore": explore, "sawtooth": sawtooth, **vars(schedules)}  # what a reader has who has made such an explorer


@pytest.mark.parametrize(
    "own",
    [
        sawtooth,
        schedules.constant(0.5),
        schedules.linear(40) * schedules.step(15, gamma=0.5),
        schedules.sequential([schedules.constant(0.5), schedules.cosine(20)], [7]),
    ],  # fmt: skip
)
def test_its_python_makes_the_same_explorer(own):
    explorer = explore.schedule(["step", ("linear", {"warmup": 5}), own], lr=0.02, steps=50, step=7, recorded="0.4")
    made = eval(explorer.python(), OWN)
    assert state(made) == state(explorer)
    np.testing.assert_array_equal(made.factors(), explorer.factors())


def linear(t):
    return 1 - t / 100


def other_sawtooth(t):
    return 1 / (1 + t)


other_sawtooth.__name__ = "sawtooth"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([sawtooth, other_sawtooth], "two different schedules are called 'sawtooth'"),
        ([linear], "linear is the name of a family of schedules"),
    ],
)
def test_a_name_means_one_schedule(given, said):
    with pytest.raises(ValueError, match=said):
        explore.schedule(given)


def test_one_schedule_may_stand_twice_and_be_written_anew():
    explorer = explore.schedule([sawtooth, schedules.Formula(sawtooth), hopeless, hopeless], steps=8)
    assert [each["name"] for each in explorer.schedules] == ["sawtooth", "sawtooth", "hopeless", "hopeless"]
    explorer.schedules = [other_sawtooth]
    assert explorer.factors()[0, 1] == 0.5


def test_a_setting_that_only_a_slider_can_take_is_refused_in_the_words_of_the_page():
    explorer = explore.schedule(["cosine"])
    explorer.set_state({"schedules": [{"name": "cosine", "hyper": {"warmup": 400}}]})
    with pytest.raises(ValueError, match="a warm-up of 400 steps leaves none of 300"):
        eval(explorer.python(), OWN)


def test_traits_can_be_set():
    explorer = explore.schedule()
    explorer.schedules = ["exponential", schedules.constant(0.5)]
    assert [each["name"] for each in explorer.schedules] == ["exponential", "constant(factor=0.5)"]
    assert '"constant(factor=0.5)"' in explorer.code
    explorer.steps = 20
    assert explorer.step == 20 and explorer.factors().shape == (2, 21)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"schedules": ["cosinus"]}, "no family of schedules is called 'cosinus'"),
        ({"schedules": []}, "0 schedules"),
        ({"schedules": ["step"] * 5}, "5 schedules"),
        ({"schedules": [("cosine", {"warmup": 300})]}, "leaves none of 300"),
        ({"lr": 0.0}, "lr=0.0 must be between"),
        ({"steps": 1}, "steps=1 must be between"),
        ({"momentum": 1.0}, "momentum=1.0"),
        ({"recorded": 0.3}, "no run was recorded at learning rate 0.3: choose"),
    ],
)
def test_wrong_values_are_refused(given, said):
    with pytest.raises(ValueError, match=said):
        explore.schedule(**given)


@pytest.mark.parametrize("given", [{"schedules": [("step", {"speed": 1})]}, {"schedules": [3]}, {"schedules": [int]}])
def test_wrong_types_are_refused(given):
    with pytest.raises(TypeError):
        explore.schedule(**given)


def test_wrong_traits_are_refused():
    with pytest.raises(TraitError):
        explore.schedule(steps="many")


# In a browser.


def numbers(page, what):
    settle(page)
    found = page.evaluate(f"document.querySelector('.dlopt-explorer').dlopt{what}.map((p) => Array.from(p, String))")
    return np.array(found, dtype=float)


def test_it_draws(show):
    page = show(explore.schedule(), still=True)
    settle(page)
    assert all(colours(page, f".chart.{kind}") > 10 for kind in ("rate", "live", "record"))
    assert page.locator(".still").count() == 0
    assert page.locator(".messages p").count() == 0


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_its_numbers_are_those_of_python(show, momentum):
    explorer = explore.schedule(
        ["one_cycle", "inverse_sqrt", "multi_step", sawtooth], momentum=momentum, lr=0.01, steps=60
    )
    page = show(explorer)
    np.testing.assert_allclose(numbers(page, "Factors"), explorer.factors(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(numbers(page, "Losses"), explorer.losses(), rtol=1e-9)


def test_a_slider_moves_the_curves_as_python_would(show):
    explorer = explore.schedule([("polynomial", {"power": 1.0})], steps=40)
    page = show(explorer)
    before = numbers(page, "Losses")
    set_slider(page, "power", 150)
    page.get_by_label("warmup of polynomial, typed").fill("8")
    page.get_by_label("lr, typed").fill("0.02")
    after = numbers(page, "Losses")
    assert not np.allclose(before, after)
    explorer.schedules, explorer.lr = [("polynomial", {"power": 3.0, "warmup": 8})], 0.02
    np.testing.assert_allclose(numbers(page, "Factors"), explorer.factors(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(after, explorer.losses(), rtol=1e-9)


def test_the_record_is_shown_for_what_was_recorded_and_nothing_else(show):
    page = show(explore.schedule(["cosine"], recorded="0.1"))
    settle(page)
    run = next(run for run in recorded_runs()["runs"] if run["name"] == "cosine" and not run["settings"])
    ends = [losses[-1] for losses in run["losses"]["0.1"]]
    text = page.locator(".fate").first
    assert f"recorded at lr 0.1: ends at {min(ends):g} to {max(ends):g}" in text.inner_text()
    assert "Recorded, not computed here: digits_mlp" in page.locator(".pictures").inner_text()
    page.get_by_label("learning rate of the recorded runs").select_option("0.02")
    settle(page)
    assert "recorded at lr 0.02" in text.inner_text()
    page.get_by_label("warmup of cosine, typed").fill("31")
    settle(page)
    assert "no run was recorded with these settings" in text.inner_text()
    page.get_by_label("warmup of cosine, typed").fill("30")
    settle(page)
    assert "recorded at lr 0.02" in text.inner_text()


def test_schedules_come_and_go(show):
    page = show(explore.schedule(["cosine"]))
    page.get_by_role("button", name="+ schedule").click()
    page.get_by_label("schedule 2", exact=True).select_option("warmup_stable_decay")
    page.get_by_text("more").nth(1).click()
    page.get_by_label("kind of warmup_stable_decay").select_option("linear")
    expected = explore.schedule(["cosine", ("warmup_stable_decay", {"kind": "linear"})])
    np.testing.assert_allclose(numbers(page, "Factors"), expected.factors(), rtol=1e-9, atol=1e-12)
    page.get_by_label("remove schedule 1, cosine").click()
    np.testing.assert_allclose(numbers(page, "Factors"), expected.factors()[1:], rtol=1e-9, atol=1e-12)


def test_a_link_and_python_bring_back_its_state(show):
    explorer = explore.schedule(["step", "linear", sawtooth])
    page = show(explorer)
    page.get_by_label("back to the start").click()
    page.get_by_label("one step").click()
    page.get_by_label("noise, typed").fill("0.25")
    page.get_by_label("gamma of step, schedule 1, typed").fill("0.5")
    changed = numbers(page, "Losses")
    made = eval(copied_call(page), OWN)
    assert (made.noise, made.step, made.schedules[0]) == (0.25, 1, {"name": "step", "hyper": {"gamma": 0.5}})
    assert made.schedules[1:] == explorer.schedules[1:]
    link = copied(page, "Copy link")
    again = show(explorer, fragment="#" + link.split("#")[1])
    np.testing.assert_array_equal(numbers(again, "Losses"), changed)
    assert again.locator(".count").inner_text() == "1 / 300"
    wrong = show(explorer, fragment="#explorer-1.e30")
    np.testing.assert_allclose(numbers(wrong, "Losses"), explorer.losses(), rtol=1e-9)


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (hopeless, "hopeless: its factor at step 0 is NaN"),
        (lambda t: max(t, 1), "GrammarError"),
        (lambda t, lr: t, "<lambda>: "),
    ],
)
def test_what_goes_wrong_is_said(show, schedule, said):
    page = show(explore.schedule([schedule, "cosine"]), still=True)
    settle(page)
    assert said in page.locator(".messages").inner_text()
    assert np.isfinite(numbers(page, "Losses")[1]).all()


def test_sliders_that_python_would_refuse_and_a_rate_too_large(show):
    page = show(explore.schedule(["cosine"]))
    page.get_by_label("warmup of cosine, typed").fill("400")
    settle(page)
    assert "cosine: a warm-up of 400 steps leaves none of 300" in page.locator(".messages").inner_text()
    page.get_by_label("warmup of cosine, typed").fill("0")
    page.get_by_label("lr, typed").fill("5")
    settle(page)
    assert "cosine diverges on the quadratic by step" in page.locator(".messages").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing(show, scheme, width):
    from axe_playwright_python.sync_playwright import Axe

    page = show(explore.schedule(["cosine", "one_cycle", hopeless]), scheme=scheme, width=width)
    page.evaluate("() => document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_the_keyboard_reaches_all(show):
    page = show(explore.schedule(["cosine"]))
    label = "(e => e.getAttribute('aria-label') || e.labels?.[0]?.textContent || e.textContent)(document.activeElement)"
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(label))
    seen = " | ".join(reached)
    for wanted in ("recorded runs", "play", "step", "schedule 1", "floor", "lr", "noise", "+ schedule", "Copy link"):
        assert wanted in seen, (wanted, seen)


def test_on_paper_it_is_a_picture(show):
    page = show(explore.schedule())
    page.emulate_media(media="print")
    assert page.locator(".chart.rate").is_visible() and page.locator(".chart.record").is_visible()
    for selector in (".player", ".sharing", ".shared"):
        assert not page.locator(selector).first.is_visible(), selector


def test_where_no_script_runs_the_still_is_shown(show):
    page = show(explore.schedule(), still=True, java_script_enabled=False)
    assert page.locator(".still svg").is_visible()


TUNE = """slider.value = 100 + 90 * Math.sin(frames / 9);
slider.dispatchEvent(new Event("input", {bubbles: true}));"""


@pytest.mark.timing
def test_a_slider_moves_at_30_frames_a_second(show):
    page = show(explore.schedule(["cosine", "linear", "step", "one_cycle"]))
    settle(page)
    assert frames(page, TUNE, "const slider = document.querySelector('.card input[type=range]');") >= 30


@pytest.mark.timing
def test_it_is_ready_half_a_second_after_the_page(show):
    waits = [ready(show(explore.schedule())) for _ in range(6)]  # other work on the machine only adds to it
    assert min(waits) <= 500, waits
