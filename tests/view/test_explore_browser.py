"""The landscape explorer on a page opened from the disk, with the network off and no kernel."""

from dataclasses import replace

import numpy as np
import pytest

from dlopt.engine import xp
from dlopt.lab.landscapes import LANDSCAPES, quadratic
from dlopt.view import explore

from .pages import colours, copied, copied_call, dragged, ready, set_slider, settle
from .test_explore import Odd, mine, outside, state

FOUR = [("SGD", {"lr": 1e-3}), ("SGD", {"lr": 1e-3, "momentum": 0.9}), ("Adam", {"lr": 0.05}), ("RAdam", {"lr": 0.05})]


def paths(page, nth=0):
    """What the explorer number `nth` has drawn, as an array."""
    settle(page)
    found = page.evaluate(
        "(n) => document.querySelectorAll('.dlopt-explorer')[n].dloptPaths.map((p) => Array.from(p, String))", nth
    )
    return np.array(found, dtype=float).reshape(len(found), -1, 2)


@pytest.mark.parametrize("view", ["plane", "solid"])
def test_it_draws(show, view):
    page = show(explore.landscape(view=view), still=True)
    settle(page)
    assert colours(page) > 200
    assert colours(page, ".chart") > 10
    assert page.locator(".still").count() == 0
    assert page.locator(".messages p").count() == 0


@pytest.mark.parametrize("name", LANDSCAPES)
def test_its_numbers_are_those_of_python(show, name):
    explorer = explore.landscape(name, optimizers=["SGD", "Adam", "RMSprop", "ScheduleFreeSGD"], steps=40)
    np.testing.assert_allclose(paths(show(explorer)), explorer.paths(), rtol=1e-9, atol=1e-9)


def test_its_noise_is_that_of_python(show):
    explorer = explore.landscape("booth", steps=300, noise=3.0, seed=17)
    np.testing.assert_allclose(paths(show(explorer)), explorer.paths(), rtol=1e-11, atol=1e-11)


def test_a_slider_moves_the_path_as_python_would(show):
    explorer = explore.landscape(optimizers=[("Adam", {"lr": 0.1})])
    page = show(explorer)
    before = paths(page)
    set_slider(page, "lr γ", 150)
    set_slider(page, "betas[0] β₁", 100)
    after = paths(page)
    assert not np.allclose(before, after)
    lr, beta = (float(page.get_by_label(f"{name} of Adam, typed").input_value()) for name in ("lr", "betas[0]"))
    assert (lr, beta) == (0.316, 0.99)
    explorer.optimizers = [("Adam", {"lr": lr, "betas": (beta, 0.999)})]
    np.testing.assert_allclose(after, explorer.paths(), rtol=1e-11, atol=1e-11)


def test_a_slider_is_never_stuck_at_a_rounded_value(show):
    page = show(explore.landscape(optimizers=["FTRL", "AMSGrad", "ScheduleFreeAdamW"]))
    for label in ("lr γ", "betas[0] β₁", "weight_decay λ"):
        page.evaluate("() => document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        slider = page.get_by_label(label, exact=True).first
        set_slider(page, label, 10)
        slider.focus()
        for press in range(60):
            page.keyboard.press("ArrowRight")
            settle(page)
            assert slider.input_value() == str(11 + press), label


def test_a_number_is_typed_and_nonsense_is_marked(show):
    page = show(explore.landscape(optimizers=[("SGD", {"lr": 0.01})]))
    before = paths(page)
    box = page.get_by_label("lr of SGD, typed")
    box.fill("nonsense")
    assert box.get_attribute("aria-invalid") == "true"
    assert np.array_equal(paths(page), before)
    box.blur()
    assert (box.input_value(), box.get_attribute("aria-invalid")) == ("0.01", None)
    box.fill("0.0123")
    assert box.get_attribute("aria-invalid") is None
    assert not np.array_equal(paths(page), before)


def test_the_start_is_dragged_by_mouse(show):
    page = show(explore.landscape())
    settle(page)
    box = page.locator(".handle").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 90, y - 60, steps=4)
    page.mouse.up()
    start = paths(page)[0, 0]
    assert start[0] > -3.0 and start[1] > -0.5
    assert page.locator(".start input").first.input_value() == str(start[0]).removesuffix(".0")


def test_the_start_is_dragged_by_touch(show):
    page = show(explore.landscape(), width=390, has_touch=True)
    settle(page)
    box = page.locator(".picture canvas").bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert abs(paths(page)[0, 0]).max() < 0.6


def test_the_keyboard_does_all(show):
    page = show(explore.landscape())
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        label = (
            "(e => e.getAttribute('aria-label') || e.labels?.[0]?.textContent || e.textContent)(document.activeElement)"
        )
        reached.append(page.evaluate(label))
    seen = " | ".join(reached)
    for wanted in ("Landscape", "View", "start x", "start at", "play", "step", "lr γ", "lr of SGD", "Copy link"):
        assert wanted in seen, (wanted, seen)
    page.locator(".handle").focus()
    before = paths(page)[0, 0]
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowUp")
    np.testing.assert_allclose(paths(page)[0, 0] - before, [0.1, 0.8])
    page.get_by_label("lr γ", exact=True).first.focus()
    page.keyboard.press("ArrowRight")
    settle(page)
    assert page.get_by_label("lr of SGD, optimizer 1, typed").input_value() == "0.0107"


def test_keys_do_not_leave_it(show):
    page = show(explore.landscape())
    page.evaluate("() => document.addEventListener('keydown', () => { window.heard = true; })")
    page.locator(".handle").focus()
    page.keyboard.press("ArrowDown")
    assert page.evaluate("window.heard") is None


def test_it_plays_pauses_and_steps(show):
    page = show(explore.landscape(steps=100))
    count = page.locator(".count")
    assert count.inner_text() == "100 / 100"
    page.get_by_label("back to the start").click()
    page.get_by_label("one step").click()
    settle(page)
    assert count.inner_text() == "1 / 100"
    page.get_by_label("play").click()
    page.wait_for_function("parseInt(document.querySelector('.count').textContent) > 5")
    page.get_by_label("pause").click()
    settle(page)
    assert count.inner_text() != "100 / 100"
    page.get_by_label("speed").select_option("4×")
    page.get_by_label("play").click()
    page.wait_for_function("document.querySelector('.count').textContent === '100 / 100'")
    assert page.get_by_label("play").count() == 1


def test_another_landscape_brings_its_own_start_and_rates(show):
    page = show(explore.landscape())
    page.get_by_label("Landscape", exact=False).first.select_option("beale")
    fitted = explore.landscape("beale", optimizers=[("SGD", {"momentum": 0.9}), "Adam"])
    np.testing.assert_allclose(paths(page), fitted.paths(), rtol=1e-11, atol=1e-11)


def test_who_comes_back_to_a_landscape_finds_it_as_it_was_left(show):
    page = show(explore.landscape("ravine"))
    menu = page.get_by_label("landscape", exact=True)
    page.get_by_label("lr of Adam, optimizer 2, typed").fill("0.7")
    page.get_by_label("start x").fill("-1.5")
    left = paths(page)
    menu.select_option("beale")
    settle(page)
    assert page.get_by_label("lr of Adam, optimizer 2, typed").input_value() != "0.7"
    menu.select_option("ravine")
    settle(page)
    assert page.get_by_label("lr of Adam, optimizer 2, typed").input_value() == "0.7"
    np.testing.assert_array_equal(paths(page), left)


def swipe(page, selector, dx, dy):
    """A finger from the middle of the element, in ten moves; how far the page has scrolled with it."""
    box, before = page.locator(selector).first.bounding_box(), page.evaluate("scrollY")
    finger, x, y = page.context.new_cdp_session(page), box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    for k in range(11):
        point = {"x": x + dx * k / 10, "y": y + dy * k / 10}
        kind = "touchMove" if k else "touchStart"
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_timeout(200)  # the page scrolls apart from its script
    settle(page)
    return page.evaluate("scrollY") - before


def test_a_finger_drags_what_can_be_dragged_and_scrolls_elsewhere(show):
    page = show(explore.landscape(), explore.landscape(), has_touch=True, width=390)
    settle(page)
    start, count = page.get_by_label("start x").first, page.locator(".count").first
    before = start.input_value()
    assert swipe(page, ".handle", 60, -40) == 0
    assert float(start.input_value()) > float(before)
    dragged_to = start.input_value()
    assert swipe(page, ".picture canvas", 20, -200) > 50
    assert start.input_value() == dragged_to
    page.locator(".chart").first.scroll_into_view_if_needed()
    assert swipe(page, ".chart", -80, 3) == 0
    assert int(count.inner_text().split(" / ")[0]) < 100
    page.get_by_label("view").first.select_option("solid")
    settle(page)
    page.locator(".picture canvas").first.scroll_into_view_if_needed()
    assert swipe(page, ".picture canvas", 20, -100) == 0


def test_optimizers_come_and_go(show):
    page = show(explore.landscape(optimizers=["SGD"]))
    for count in (2, 3, 4):
        page.get_by_role("button", name="+ optimizer").click()
        assert len(paths(page)) == count
    assert not page.get_by_role("button", name="+ optimizer").is_visible()
    page.get_by_label("optimizer 2", exact=True).select_option("Lion")
    page.get_by_label("remove optimizer 1, SGD").click()
    assert len(paths(page)) == 3
    assert page.locator(".head select").first.input_value() == "Lion"


def test_switches_and_menus_reach_the_rule(show):
    explorer = explore.landscape(optimizers=[("RMSprop", {"lr": 0.05})], steps=50)
    page = show(explorer)
    page.get_by_text("more").first.click()
    page.get_by_label("centered").check()
    page.get_by_label("convention of RMSprop").select_option("paper")
    explorer.optimizers = [("RMSprop", {"lr": 0.05, "centered": True, "convention": "paper"})]
    np.testing.assert_allclose(paths(page), explorer.paths(), rtol=1e-11, atol=1e-11)


@pytest.mark.timing
def test_four_times_500_steps_move_at_30_frames_a_second(show):
    page = show(explore.landscape("rosenbrock", optimizers=FOUR, steps=500))
    settle(page)
    assert dragged(page, ".handle") >= 30


@pytest.mark.timing
def test_it_is_ready_half_a_second_after_the_page(show):
    waits = [ready(show(explore.landscape())) for _ in range(6)]  # other work on the machine only adds to it
    assert min(waits) <= 500, waits


def test_four_on_a_page_do_not_disturb_each_other(show):
    explorers = [explore.landscape(name) for name in ("ravine", "beale", "ravine", "saddle")]
    page = show(*explorers)
    set_slider(page, "lr γ", 20)
    for nth in (1, 2, 3):
        np.testing.assert_allclose(paths(page, nth), explorers[nth].paths(), rtol=1e-9, atol=1e-9)
    assert not np.allclose(paths(page, 0), explorers[0].paths())
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))


def test_what_a_link_has_changed_is_found_again_too(show):
    page = show(explore.landscape("ravine"))
    page.get_by_label("start x").fill("-1.5")
    links = {"ravine": copied(page, "Copy link", 0)}
    links["beale"] = copied(show(explore.landscape("beale")), "Copy link", 0)
    page = show(explore.landscape("ravine"))
    for name in ("ravine", "beale"):
        page.evaluate("(link) => { location.hash = link; }", links[name].split("#")[1])
        page.wait_for_function("(name) => document.querySelector('.dlopt-explorer select').value === name", arg=name)
        settle(page)
    page.get_by_label("landscape", exact=True).select_option("ravine")
    settle(page)
    assert page.get_by_label("start x").input_value() == "-1.5"


def test_a_link_brings_back_the_state_of_its_explorer(show):
    two = [explore.landscape(), explore.landscape("booth")]
    page = show(*two)
    page.get_by_label("lr of Adam, optimizer 2, typed").nth(1).fill("0.7")
    page.get_by_label("view").nth(1).select_option("solid")
    changed = paths(page, 1)
    link = copied(page, "Copy link", 1)
    again = show(*two, fragment="#" + link.split("#")[1])
    np.testing.assert_array_equal(paths(again, 1), changed)
    assert again.get_by_label("view").nth(1).input_value() == "solid"
    np.testing.assert_allclose(paths(again, 0), two[0].paths(), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("fragment", ["#explorer-1.eyJ", "#explorer-1.e30", "#explorer-1.%%%", "#explorer-9.e30"])
def test_a_wrong_link_changes_nothing(show, fragment):
    explorer = explore.landscape()
    np.testing.assert_allclose(paths(show(explorer, fragment=fragment)), explorer.paths(), rtol=1e-11, atol=1e-11)


def test_the_python_it_copies_makes_the_same_explorer(show):
    explorer = explore.landscape(
        quadratic(7.0), optimizers=[("Adam", {"betas": (0.8, 0.9), "amsgrad": True}), mine], noise=0.25, step=17
    )
    text = copied_call(show(explorer))
    assert state(eval(text, {"explore": explore, "quadratic": quadratic, "mine": mine})) == state(explorer)


def test_copying_is_confirmed(show):
    page = show(explore.landscape(), permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy Python").click()
    page.wait_for_function("document.querySelector('.told').textContent === 'Copied.'")
    assert page.evaluate("navigator.clipboard.readText()").startswith(
        "from dlopt.view import explore\n\nexplore.landscape("
    )


def square(p, *, lr):
    return lr * p * p


wanted = square
del square  # as if it had been imported under the other name only


def hiding(g, p, square, *, lr):
    square = square + wanted(g, lr=lr)
    return -lr * g / (1 + xp.sqrt(square)), square


def test_an_argument_does_not_hide_a_function(show):
    explorer = explore.landscape("booth", optimizers=[(hiding, {"lr": 0.5}), "SGD"], steps=30)
    np.testing.assert_allclose(paths(show(explorer)), explorer.paths(), rtol=1e-11, atol=1e-11)


def test_where_one_path_fails_the_others_go_on(show):
    explorer = explore.landscape("booth", optimizers=[mine, "SGD"], steps=30)
    explorer.code = explorer.code.replace("mine(g, p, {lr}) {", "mine(g, p, {lr}) { throw new Error('lost');")
    page = show(explorer)
    first, second = paths(page)
    assert np.isnan(first).all()
    np.testing.assert_allclose(second, explorer.paths()[1], rtol=1e-11, atol=1e-11)
    assert page.locator(".messages").inner_text() == "mine: Error: lost"


def test_a_small_region_with_numbers_is_seen(show):
    """One point of the grid, which a sample of every seventh would miss."""
    made = replace(LANDSCAPES["booth"], name="hole", f=hole_f, grad=half_grad, start=(0.0, 0.0))
    page = show(explore.landscape(made))
    settle(page)
    assert "hole gives no number in a part of the picture" in page.locator(".messages").inner_text()


def hole_f(x, y):
    return xp.sqrt(0.001 - x * x - y * y)


def nan_f(x, y):
    return xp.sqrt(-1 - x * x - y * y)


def nan_grad(x, y):
    return x / 0, y / 0


def half_f(x, y):
    return xp.log(x) + y * y


def half_grad(x, y):
    return 1 / x, 2 * y


@pytest.mark.parametrize(
    "made, said",
    [
        (lambda: explore.landscape(replace(LANDSCAPES["booth"], name="nothing", f=nan_f, grad=nan_grad)), "gives no number"),
        (lambda: explore.landscape(replace(LANDSCAPES["booth"], name="half", f=half_f, grad=half_grad)), "gives NaN at the start"),
        (lambda: explore.landscape(replace(LANDSCAPES["booth"], name="odd", f=lambda x, y: x)), "GrammarError: a rule is a plain"),
        (lambda: explore.landscape("rosenbrock", optimizers=[("SGD", {"lr": 1.0})]), "SGD diverges: it is not finite after step"),
        (lambda: explore.landscape("ravine", optimizers=[("SGD", {"lr": 0.03})]), "SGD diverges: after 200 steps"),
        (lambda: explore.landscape(optimizers=[Odd]), "Odd: GrammarError: Odd.rule"),
        (lambda: explore.landscape(optimizers=[outside]), "'MatMult' is not in the grammar (in the line: return -lr * g @ p)"),
        (lambda: explore.landscape(optimizers=["Muon"]), "Muon: TypeError: Muon has no element-wise rule"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_said(show, made, said):
    page = show(made())
    settle(page)
    assert said in page.locator(".messages").inner_text()
    assert page.locator(".picture canvas").bounding_box()["height"] > 100


def test_only_what_moves_away_diverges(show):
    page = show(explore.landscape("ravine", optimizers=["Adam"], start=(999, 0.0), steps=100))
    settle(page)
    assert "diverges" not in page.locator(".messages").inner_text()
    assert "outside the picture" in page.locator(".handle").get_attribute("aria-label")


def test_messages_tell_two_optimizers_of_one_class_apart(show):
    page = show(explore.landscape("ravine", optimizers=[("SGD", {"lr": 0.001}), ("SGD", {"lr": 0.03})]))
    settle(page)
    said = page.locator(".messages").inner_text()
    assert "SGD, optimizer 2 diverges" in said and "optimizer 1" not in said


@pytest.mark.parametrize("text", ["abc", "", "1e300", "0x10", "1e", "--1"])
def test_a_start_that_is_no_number_is_marked_and_taken_back(show, text):
    page = show(explore.landscape("ravine", start=(-3.0, 1.0)))
    box = page.get_by_label("start x")
    box.fill(text)
    assert box.get_attribute("aria-invalid") == "true"
    box.blur()
    assert box.input_value() == "-3" and box.get_attribute("aria-invalid") is None


def test_nesterov_without_momentum_is_refused_in_the_words_of_python(show):
    page = show(explore.landscape(optimizers=["SGD"]))
    page.get_by_text("more").first.click()
    page.get_by_label("nesterov").check()
    settle(page)
    assert "Nesterov momentum requires a momentum and zero dampening" in page.locator(".messages").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing(show, scheme, width):
    from axe_playwright_python.sync_playwright import Axe

    page = show(
        explore.landscape(optimizers=["SGD", "RMSprop", ("SGD", {"lr": 9.0})]),
        explore.landscape("beale", view="solid"),
        scheme=scheme,
        width=width,
    )
    page.evaluate("() => document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_it_follows_the_theme(show):
    page = show(explore.landscape())
    ink = "() => getComputedStyle(document.querySelector('.explorer')).color"
    before = page.evaluate(ink)
    page.evaluate("() => { document.documentElement.dataset.theme = 'dark'; }")
    settle(page)
    assert page.evaluate(ink) != before


BOX = "html[data-theme=dark] .bd-content div.cell_output .text_html:not(:has(table.dataframe)) { background: #ddd; padding: .5rem }"


def test_the_light_box_of_the_site_is_not_painted_behind_it(show):
    page = show(explore.landscape(), scheme="dark")
    page.evaluate(
        """(rule) => {
          const main = document.querySelector("main"), around = document.createElement("div");
          document.head.append(Object.assign(document.createElement("style"), {textContent: rule}));
          around.className = "bd-content";
          around.innerHTML = '<div class="cell_output"><div class="text_html"></div></div>';
          main.append(around);
          around.querySelector(".text_html").append(document.querySelector(".dlopt-explorer"));
        }""",
        BOX,
    )
    painted = page.evaluate("getComputedStyle(document.querySelector('.text_html')).backgroundColor")
    assert painted == "rgba(0, 0, 0, 0)"


def test_on_paper_it_is_a_picture(show):
    page = show(explore.landscape())
    page.emulate_media(media="print")
    assert page.locator(".picture canvas").is_visible() and page.locator(".chart").is_visible()
    for selector in (".player", ".sharing", ".bar", ".row input[type=range]"):
        assert not page.locator(selector).first.is_visible(), selector


def test_where_no_script_runs_the_still_is_shown(show):
    page = show(explore.landscape(), still=True, java_script_enabled=False)
    drawing = page.locator(".still svg")
    assert drawing.is_visible()
    assert "paths of SGD, Adam" in drawing.get_attribute("aria-label")
