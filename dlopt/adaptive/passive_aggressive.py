"""Passive-aggressive learning (Crammer et al. 2006): the smallest change that mends the loss on the newest example."""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from dlopt.engine.checks import choice, number

TASKS = ("classification", "regression")
VARIANTS = ("PA", "PA-I", "PA-II")


def step_length(loss: float, square: float, variant: str, C: float) -> float:
    r"""How far the weights go along the example: :math:`\tau` (figure 1 of the paper).

    Args:
        loss: what the example suffers, at least 0.
        square: squared length of the direction of the update; twice that of the example for several classes.
        variant: ``"PA"``, ``"PA-I"`` or ``"PA-II"``.
        C: aggressiveness, positive.

    Returns:
        0 where there is no loss, or the direction is zero and no step could help.

    Example:
        >>> [step_length(3.0, 2.0, variant, 0.5) for variant in VARIANTS]
        [1.5, 0.5, 1.0]
    """
    if not loss or not square:
        return 0.0
    if variant == "PA-II":
        return float(loss / (square + 1 / (2 * C)))
    return float(loss / square if variant == "PA" else min(C, loss / square))


class PassiveAggressive:
    r"""A linear model that learns from one example at a time and has no learning rate.

    An example that is served with margin changes nothing; any other moves the weights by as little as possible.
    With the hinge loss (several classes: the hinge of the true class against its best rival, section 7, with one
    weight vector a class; regression: :math:`\max(0, |w\cdot x - y| - \epsilon)`, section 5) that is a step of

    - PA: :math:`\tau = \text{loss}/\lVert x\rVert^2`, to zero loss on the example, whatever it takes;
    - PA-I: :math:`\tau = \min(C, \text{loss}/\lVert x\rVert^2)`;
    - PA-II: :math:`\tau = \text{loss}/(\lVert x\rVert^2 + 1/(2C))`.

    Several classes move two weight vectors, so :math:`\lVert x\rVert^2` counts twice.

    Args:
        task: ``"classification"`` or ``"regression"``.
        variant: ``"PA"``, ``"PA-I"`` or ``"PA-II"``.
        C: aggressiveness, positive, in units of the loss per squared unit of the inputs; PA has no use for it.
        epsilon: :math:`\epsilon \ge 0`, in units of the target: a smaller error is none. Regression only.
        intercept: add a constant feature 1, which counts in :math:`\lVert x\rVert^2`; the paper has none.
        classes: all labels there will be, at least two, here or at the first ``partial_fit``. With two, the second
            in sorted order is the positive one.

    Attributes:
        weights: float64, shape ``(features,)``, for three or more classes ``(classes, features)``; None before the
            first example. They begin at zero.
        bias: a float, for three or more classes float64 of shape ``(classes,)``; zero without intercept.
        classes: the sorted labels, shape ``(classes,)``, or None.
        seen: how many examples have been learned from.

    Raises:
        ValueError: for a hyperparameter out of its range; for inputs that are NaN, infinite or of another number of
            features, and unknown labels. Nothing has changed then.
        RuntimeError: for a prediction before the first example.

    Example:
        >>> model = PassiveAggressive(variant="PA", classes=[-1, 1])
        >>> model.partial_fit([3.0, 4.0], 1)
        1.0
        >>> model.weights
        array([0.12, 0.16])
        >>> model.decision_function([[3.0, 4.0], [0.0, 1.0]])
        array([1.  , 0.16])
    """

    def __init__(
        self, task: str = "classification", *, variant: str = "PA-I", C: float = 1.0, epsilon: float = 0.1,
        intercept: bool = False, classes: ArrayLike | None = None,
    ) -> None:  # fmt: skip
        choice("task", task, TASKS)
        choice("variant", variant, VARIANTS)
        number("C", C, above=0)
        number("epsilon", epsilon, low=0)
        if task == "regression" and classes is not None:
            raise ValueError("regression has no classes")
        self.task, self.variant, self.C, self.epsilon = task, variant, float(C), float(epsilon)
        self.intercept, self.seen = bool(intercept), 0
        self.classes = None if classes is None else _sorted_classes(classes)
        self._rows: np.ndarray | None = None  # (vectors, features + intercept)

    @property
    def weights(self) -> Any:
        if self._rows is None:
            return None
        rows = self._rows[:, :-1] if self.intercept else self._rows
        return rows.copy() if len(rows) > 1 else rows[0].copy()

    @property
    def bias(self) -> Any:
        if self._rows is None or not self.intercept:
            return 0.0 if self._rows is None or len(self._rows) == 1 else np.zeros(len(self._rows))
        return self._rows[:, -1].copy() if len(self._rows) > 1 else float(self._rows[0, -1])

    def partial_fit(self, x: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None) -> Any:
        """Learn from one example, or from several in the order they have.

        Args:
            x: shape ``(features,)`` or ``(n, features)``, finite.
            y: a label or a number; shape ``(n,)`` for several examples.
            classes: all labels there will be, needed at the first call unless they were given before.

        Returns:
            The loss that each example suffered before it was learned from: a float, or float64 of shape ``(n,)``.
            A classifier was wrong, or undecided, where it is at least 1.
        """
        labels = self.classes
        if classes is not None:
            if self.task == "regression":
                raise ValueError("regression has no classes")
            labels = _sorted_classes(classes)
            if self.classes is not None and not np.array_equal(labels, self.classes):
                raise ValueError(f"the classes are {self.classes.tolist()} already, not {labels.tolist()}")
        if self.task == "classification" and labels is None:
            raise ValueError("classes are needed at construction or at the first partial_fit")
        examples = self._inputs(x)
        one = np.ndim(x) == 1
        targets = np.asarray(y)
        if targets.shape != (() if one else (len(examples),)):
            raise ValueError(f"x of shape {np.shape(x)} needs y of shape {np.shape(x)[:-1]}, got {targets.shape}")
        targets = self._targets(np.atleast_1d(targets), labels)
        self.classes = labels
        if self._rows is None:
            vectors = len(labels) if labels is not None and len(labels) > 2 else 1
            self._rows = np.zeros((vectors, examples.shape[1]))
        losses = np.array([self._learn(a, b) for a, b in zip(examples, targets, strict=True)])
        self.seen += len(examples)
        return float(losses[0]) if one else losses

    def decision_function(self, x: ArrayLike) -> Any:
        """``w·x + b``: shape ``(n,)``, for three or more classes ``(n, classes)``; one example has no ``n``."""
        if self._rows is None:
            raise RuntimeError("nothing has been learned yet: call partial_fit first")
        scores = self._inputs(x) @ self._rows.T
        scores = scores if len(self._rows) > 1 else scores[:, 0]
        return scores[0] if np.ndim(x) == 1 else scores

    def predict(self, x: ArrayLike) -> Any:
        """The label, or in regression the number, for each example; of equal scores the first class."""
        scores = self.decision_function(x)
        if self.classes is None:
            return scores
        best = scores.argmax(-1) if len(self.classes) > 2 else (np.asarray(scores) > 0).astype(int)
        return self.classes[best]

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on exactly; ``torch.load(weights_only=True)`` reads it back."""
        names = ("task", "variant", "C", "epsilon", "intercept", "seen")
        rows = None if self._rows is None else torch.from_numpy(self._rows.copy())
        labels = None if self.classes is None else self.classes.tolist()
        return {name: getattr(self, name) for name in names} | {"classes": labels, "rows": rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become the model that ``state_dict`` was taken of, hyperparameters included.

        Raises:
            ValueError: for missing or surplus keys, or values that do not fit. Nothing has changed then.
        """
        if set(state) != set(self.state_dict()):
            raise ValueError(f"a state has the keys {sorted(self.state_dict())}, not {sorted(state)}")
        settings = {name: value for name, value in state.items() if name not in ("seen", "rows")}
        other = PassiveAggressive(**settings)
        number("seen", state["seen"], low=0)
        if state["rows"] is not None:
            rows = np.asarray(state["rows"], np.float64).copy()
            vectors = len(other.classes) if other.classes is not None and len(other.classes) > 2 else 1
            if rows.ndim != 2 or len(rows) != vectors or not np.isfinite(rows).all():
                raise ValueError(f"the weights must be finite, {vectors} vectors of them, got shape {rows.shape}")
            other._rows = rows
        other.seen = int(state["seen"])
        self.__dict__.update(other.__dict__)

    def _learn(self, x: np.ndarray, y: Any) -> float:
        """One update; the loss before it."""
        rows, square = self._rows, float(x @ x)
        assert rows is not None
        scores = rows @ x
        if len(rows) > 1:
            rival = int(np.where(np.arange(len(rows)) == y, -np.inf, scores).argmax())
            loss = max(0.0, 1 - float(scores[y] - scores[rival]))
            tau = step_length(loss, 2 * square, self.variant, self.C)
            rows[y] += tau * x
            rows[rival] -= tau * x
            return loss
        if self.task == "regression":
            error = y - float(scores[0])
            loss, sign = max(0.0, abs(error) - self.epsilon), np.sign(error)
        else:
            sign = 2 * y - 1
            loss = max(0.0, 1 - sign * float(scores[0]))
        rows[0] += step_length(loss, square, self.variant, self.C) * sign * x
        return loss

    def _inputs(self, x: ArrayLike) -> np.ndarray:
        """The examples as rows, checked, with the constant feature."""
        examples = np.asarray(x, np.float64)
        if examples.ndim not in (1, 2):
            raise ValueError(f"x must have one or two dimensions, got shape {examples.shape}")
        examples = np.atleast_2d(examples)
        if not np.isfinite(examples).all():
            raise ValueError("x has NaN or infinite values")
        with np.errstate(all="ignore"):
            squares = (examples * examples).sum(1)
        if ((examples.any(1) & (squares < np.finfo(np.float64).tiny)) | (squares > 1e307)).any():
            raise ValueError("the square of x is too large or too small for float64: scale the inputs")
        if self.intercept:
            examples = np.hstack([examples, np.ones((len(examples), 1))])
        if self._rows is not None and examples.shape[1] != self._rows.shape[1]:
            known, given = (shape - self.intercept for shape in (self._rows.shape[1], examples.shape[1]))
            raise ValueError(f"the model has {known} features, x has {given}")
        return examples

    def _targets(self, y: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        """Numbers for regression, positions in `labels` for classification."""
        if labels is None:
            numbers = y.astype(np.float64)
            if not np.isfinite(numbers).all():
                raise ValueError("y has NaN or infinite values")
            return numbers
        unknown = [label for label in y.tolist() if label not in labels.tolist()]
        if unknown:
            raise ValueError(f"unknown label {unknown[0]!r}; the classes are {labels.tolist()}")
        return np.searchsorted(labels, y)


def _sorted_classes(classes: ArrayLike) -> np.ndarray:
    given = np.asarray(classes)
    if given.ndim != 1 or given.dtype.kind == "O" or (given.dtype.kind == "f" and not np.isfinite(given).all()):
        raise ValueError(f"classes must be numbers or strings in one dimension, got {classes!r}")
    labels = np.unique(given)
    if len(labels) < 2 or len(labels) < len(given):
        raise ValueError(f"classes must be two or more different labels, got {given.tolist()}")
    return labels
