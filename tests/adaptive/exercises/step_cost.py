"""The coding exercise of the page on what a step costs."""

from tests.exercises import judge

CASES = [(0, 4, 4, 4, False), (1, 4, 4, 4, False), (2, 2, 2, 4, False), (2, 2, 2, 4, True), (2, 4, 2, 1, True)]


def step_bytes(slots, weight, gradient, state, kahan=False):
    """The gradient is read; the weight, the state and the compensation are read and written."""
    return gradient + 2 * (weight + slots * state + (weight if kahan else 0))


def gradient_twice(slots, weight, gradient, state, kahan=False):
    return step_bytes(slots, weight, gradient, state, kahan) + gradient


def one_way(slots, weight, gradient, state, kahan=False):
    return gradient + weight + slots * state + (weight if kahan else 0)


def weight_once(slots, weight, gradient, state, kahan=False):
    return step_bytes(slots, weight, gradient, state, kahan) - weight


def no_compensation(slots, weight, gradient, state, kahan=False):
    return step_bytes(slots, weight, gradient, state)


def compensation_once(slots, weight, gradient, state, kahan=False):
    return step_bytes(slots, weight, gradient, state, kahan) - (weight if kahan else 0)


def state_as_wide_as_weights(slots, weight, gradient, state, kahan=False):
    return step_bytes(slots, weight, gradient, weight, kahan)


MISTAKES = {
    gradient_twice: "the step reads the gradient and does not write it",
    one_way: "weight and state are read and written: twice their bytes",
    weight_once: "the weight is read as well as written",
    no_compensation: "the compensation is a number a weight as well",
    compensation_once: "the compensation is read and written",
    state_as_wide_as_weights: "state has a width of its own",
}


def check_bytes(step_bytes):
    """Compare `step_bytes` with the bytes of a fused step, for five kinds of optimizer.

    Raises:
        AssertionError: naming the mistake where it is one of the usual ones.

    Example:
        >>> check_bytes(step_bytes)
        bytes of a step: correct
    """
    judge("bytes of a step", step_bytes, _RIGHT, MISTAKES, lambda f: [f(*case) for case in CASES])


_RIGHT = step_bytes
EXERCISES = {check_bytes: (step_bytes, MISTAKES)}
