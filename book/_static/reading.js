// An equation wider than the page scrolls inside its box; the keyboard must reach it there.
addEventListener("load", async () => {
  await window.MathJax?.startup?.promise;
  const watch = new ResizeObserver((changes) => {
    for (const { target } of changes) {
      const box = target.closest("mjx-container");
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  });
  for (const box of document.querySelectorAll("mjx-container[display]")) {
    watch.observe(box);
    watch.observe(box.firstElementChild);
  }
});

// Paper is white, whatever the screen is.
let theme;
addEventListener("beforeprint", () => {
  theme = document.documentElement.dataset.theme;
  document.documentElement.dataset.theme = "light";
});
addEventListener("afterprint", () => {
  document.documentElement.dataset.theme = theme;
});

// The theme takes the focus off a button that was clicked. Who pressed it by a key keeps the place.
document.addEventListener(
  "click",
  (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (event.detail === 0) button.blur = () => {};
    else delete button.blur;
  },
  true,
);
