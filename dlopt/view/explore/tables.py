"""The translated code of an explorer: landscapes, optimizers and the noise, as one JavaScript function body."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from typing import Any

from dlopt.engine.faces.javascript import RUNTIME, Translator
from dlopt.engine.faces.javascript_printers import js_object
from dlopt.engine.rule import GrammarError
from dlopt.lab.counter_noise import counter_noise
from dlopt.lab.landscapes import LANDSCAPES, Landscape

from . import controls
from .entrants import Entrant, public_optimizers


def in_words(error: Exception) -> str:
    """An exception as one line, with the line of source that it is about.

    >>> in_words(TypeError("it does not run in a browser"))
    'TypeError: it does not run in a browser'
    """
    where = f" (in the line: {error.text.strip()})" if isinstance(error, SyntaxError) and error.text else ""
    return f"{type(error).__name__}: {getattr(error, 'msg', None) or error}{where}"


def optimizer_entry(translator: Translator, entrant: Entrant) -> str:
    """JavaScript for one optimizer: translated, with its controls; or with what is to be said against it."""
    try:
        if entrant.error:
            raise entrant.error
        made = translator.optimizer(entrant.cls, **entrant.given)
        shown = controls.controls(controls.hyperparameters(entrant.cls, **entrant.given))
    except (GrammarError, TypeError, ValueError) as error:
        return json.dumps({"error": in_words(error), "own": not entrant.public})
    about = {"controls": shown, "rate": controls.rate_kind(entrant.name), "own": not entrant.public}
    return js_object({"made": made, **{key: json.dumps(value, ensure_ascii=False) for key, value in about.items()}})


def written(landscape: Landscape) -> str:
    """A landscape in a call: a name in quotes, the call that makes it, or the reader's own name.

    >>> from dlopt.lab.landscapes import quadratic
    >>> written(LANDSCAPES["booth"]), written(quadratic(7.0))
    ("'booth'", 'quadratic(7.0)')
    """
    if LANDSCAPES.get(landscape.name) is landscape:
        return repr(landscape.name)
    return landscape.call if landscape.call.startswith(f"{landscape.name}(") else landscape.name


def landscape_entry(translator: Translator, landscape: Landscape) -> str:
    """JavaScript for one landscape: its function and gradient, and what its picture needs."""
    about: dict[str, Any] = {
        "minima": landscape.minima,
        "minimum": landscape.minimum,
        "start": landscape.start,
        "domain": landscape.domain,
        "log": landscape.log_scale,
        "source": landscape.source,
        "written": written(landscape),
    }
    parts = {key: json.dumps(value, ensure_ascii=False) for key, value in about.items()}
    constants = f", {json.dumps(dict(landscape.constants))}" if landscape.constants else ""
    try:
        parts["rates"] = json.dumps(controls.learning_rates(landscape))
        for key, function in (("f", landscape.f), ("grad", landscape.grad)):
            parts[key] = f"(x, y) => {translator.function(function)}(x, y{constants})"
    except Exception as error:  # the reader's own function may raise anything
        parts["error"] = json.dumps(in_words(error))
    return js_object({json.dumps(key): value for key, value in parts.items()})


def scope(landscapes: Iterable[Landscape], entrants: Iterable[Entrant], noise: bool = False) -> str:
    """An expression with the names `landscapes` and `optimizers`, and no others seen outside.

    >>> scope([], [])
    '(() => {\\n\\nreturn {landscapes: {}, optimizers: {}};\\n})()'
    """
    translator = Translator()
    members = {
        "landscapes": js_object({json.dumps(each.name): landscape_entry(translator, each) for each in landscapes}),
        "optimizers": js_object({json.dumps(each.name): optimizer_entry(translator, each) for each in entrants}),
    }
    if noise:
        members["noise"] = translator.function(counter_noise)
    return f"(() => {{\n{translator.source()}\nreturn {js_object(members)};\n}})()"


@functools.cache
def _everything() -> str:
    return scope(LANDSCAPES.values(), public_optimizers().values(), noise=True)


def code(own_landscapes: Iterable[Landscape], own_entrants: Iterable[Entrant]) -> str:
    """The body of a function that returns ``{dlopt, noise, landscapes, optimizers}``.

    The reader's own stand beside the book's, and go before one of the same name.
    """
    return (
        f"{RUNTIME}\nconst book = {_everything()};\nconst own = {scope(own_landscapes, own_entrants)};\n"
        "return {dlopt, noise: book.noise, landscapes: {...book.landscapes, ...own.landscapes}, "
        "optimizers: {...book.optimizers, ...own.optimizers}};"
    )
