"""A page with explorers, and what is asked of it."""

PAGE = """<!doctype html><html lang="en" {theme}><head><meta charset="utf-8"><title>Explorers</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body {{ max-width: 50rem; margin: 1rem auto; padding: 0 .8rem; background: {paper}; color: {ink}; }}</style></head>
<body><main><h1>Explorers</h1>{explorers}</main></body></html>"""
COLOURS = {"light": ("#ffffff", "#111111"), "dark": ("#14181e", "#eeeeee")}


def settle(page):
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def colours(page, selector=".picture canvas"):
    """How many colours a canvas holds."""
    return page.evaluate(
        """(selector) => {
          const canvas = document.querySelector(selector), {width, height} = canvas;
          return new Set(new Uint32Array(canvas.getContext("2d").getImageData(0, 0, width, height).data.buffer)).size;
        }""",
        selector,
    )


def set_slider(page, label, place):
    page.get_by_label(label, exact=True).first.evaluate(
        "(slider, place) => { slider.value = place; slider.dispatchEvent(new Event('input', {bubbles: true})); }", place
    )


def copied(page, button, nth=0):
    """What a button copies, through the box that is shown when there is no clipboard."""
    page.evaluate("() => Object.defineProperty(navigator, 'clipboard', {value: undefined, configurable: true})")
    page.get_by_role("button", name=button).nth(nth).click()
    page.wait_for_selector(".copied:not([hidden])")
    assert "press Ctrl+C" in page.locator(".told").nth(nth).inner_text()
    return page.locator(".copied").nth(nth).input_value()


def copied_call(page, nth=0):
    """The call that "Copy Python" copies, beneath the import that it needs."""
    code, call = copied(page, "Copy Python", nth).split("\n\n")
    assert code == "from dlopt.view import explore"
    return call


def frames(page, move, before=""):
    """Frames a second while `move`, JavaScript that counts on ``frames``, is done at each: the best of five times.

    Other work on the machine takes frames away, and nothing adds any.
    """
    script = f"""async () => {{
      {before}
      let frames = 0;
      const from = performance.now();
      while (performance.now() - from < 1500) {{
        {move}
        await new Promise(requestAnimationFrame);
        frames++;
      }}
      return frames / (performance.now() - from) * 1000;
    }}"""
    return max(page.evaluate(script) for _ in range(5))


def dragged(page, selector):
    """Frames a second while what `selector` names is dragged about the picture."""
    before = f"""
      const held = document.querySelector("{selector}"), box = document.querySelector(".picture").getBoundingClientRect();
      held.setPointerCapture = () => {{}};
      held.hasPointerCapture = () => true;
      const at = (kind, x, y) => held.dispatchEvent(
        new PointerEvent(kind, {{bubbles: true, pointerId: 1, clientX: box.left + x, clientY: box.top + y}}));
      at("pointerdown", 100, 100);"""
    return frames(page, 'at("pointermove", 160 + 80 * Math.sin(frames / 9), 120 + 50 * Math.cos(frames / 7));', before)


def ready(page):
    """Milliseconds from a page's arrival to the end of its scripts."""
    return page.evaluate(
        "(({responseEnd, domContentLoadedEventStart: ready}) => ready - responseEnd)"
        "(performance.getEntriesByType('navigation')[0])"
    )
