"""Every class that torch.optim has too: torch's own test inputs, its error inputs, its checkpoints, both ways."""

import copy
import inspect
import warnings

import pytest
import torch

import dlopt
from dlopt.engine import RuleOptimizer, faces
from dlopt.engine.faces import llvm

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_optimizers import OptimizerErrorEnum, optim_db

OURS = {
    c.__name__: c for n in dlopt.__all__ if inspect.isclass(c := getattr(dlopt, n)) and issubclass(c, RuleOptimizer)
}
INFOS = {info.optim_cls.__name__: info for info in optim_db if info.optim_cls.__name__ in OURS}
FACES = ["numpy", "torch", "llvm"] if llvm.missing() is None else ["numpy", "torch"]
INPUTS = [
    pytest.param(name, i.kwargs, id=f"{name}-{i.desc}")
    for name, info in INFOS.items()
    for i in info.optim_inputs_func(device="cpu")
]
MORE = [
    ("Adam", dict(amsgrad=True, decoupled_weight_decay=True, weight_decay=0.1)),
    ("Adam", dict(eps=0.1, betas=(0.5, 0.7), weight_decay=0.1)),
    ("AdamW", dict(amsgrad=True, eps=1e-2, maximize=True)),
    ("RMSprop", dict(momentum=0.9, weight_decay=0.1, alpha=0.9)),
    ("RMSprop", dict(momentum=0.9, weight_decay=0.1, centered=True, eps=1e-3)),
    ("RAdam", dict(weight_decay=0.1, betas=(0.9, 0.5))),
    ("NAdam", dict(weight_decay=0.1, betas=(0.5, 0.7), eps=1e-2)),
    ("Adamax", dict(weight_decay=0.1, eps=1e-2)),
    ("Adadelta", dict(weight_decay=0.1, rho=0.5, eps=1e-2, lr=0.3)),
    ("Adagrad", dict(weight_decay=0.1, eps=1e-2, initial_accumulator_value=0.5, lr_decay=0.1)),
    ("Adafactor", dict(weight_decay=0.1, eps=(1e-2, 1e-1), d=1.0)),
    ("Muon", dict(adjust_lr_fn="match_rms_adamw", nesterov=False)),
    ("SparseAdam", dict(eps=1e-2, betas=(0.5, 0.7))),
]
each_input = pytest.mark.parametrize("name, kwargs", [*INPUTS, *(pytest.param(*m, id=f"{m[0]}-{m[1]}") for m in MORE)])
ERRORS = [
    pytest.param(name, error, id=f"{name}-{error.optimizer_error_input.desc}")
    for name, info in INFOS.items()
    for error in info.optim_error_inputs_func(device="cpu", dtype=torch.float32)
]


@pytest.fixture(autouse=True)
def float64():
    """torch keeps some scalar state in the default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def start(name, seed=0):
    g = torch.Generator().manual_seed(seed)
    shapes = [(5, 4), (3, 7)] if name == "Muon" else [(5, 4), (4,), (2, 3, 4)] + ([] if name == "SparseAdam" else [()])
    return [torch.randn(s, generator=g).requires_grad_() for s in shapes]


def gradients(name, ps, steps=30):
    g = torch.Generator().manual_seed(7)
    for _ in range(steps):
        grads = [torch.randn(p.shape, generator=g) * 10 ** torch.randn((), generator=g) for p in ps]
        yield (
            [grad * (torch.rand(len(grad), *[1] * (grad.dim() - 1), generator=g) < 0.6) for grad in grads]
            if name == "SparseAdam"
            else grads
        )


def feed(name, ps, grads):
    for p, grad in zip(ps, grads, strict=True):
        p.grad = grad.to_sparse(1) if name == "SparseAdam" else grad.clone()


def steps(name, opt, ps, given):
    for grads in given:
        feed(name, ps, grads)
        opt.step()


@pytest.mark.parametrize("face", FACES)
@each_input
def test_numbers_are_torchs(name, kwargs, face):
    if OURS[name].matrix and face != "torch":
        pytest.skip("a matrix rule runs on the torch face")
    ours, theirs = start(name), start(name)
    given = list(gradients(name, ours))
    with faces.use(face):
        steps(name, OURS[name](ours, **kwargs), ours, given)
    steps(name, INFOS[name].optim_cls(theirs, **kwargs), theirs, given)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, **close(kwargs))


def close(kwargs):
    """torch computes with a float32 learning rate in float32."""
    return dict(rtol=1e-6, atol=1e-6) if isinstance(kwargs.get("lr"), torch.Tensor) else dict(rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name, error", ERRORS)
def test_error_inputs_are_refused_in_torchs_words(name, error):
    bad = error.optimizer_error_input
    params = [torch.nn.Parameter(torch.randn(1, 1))] if bad.params is None else bad.params
    kind = ValueError if error.error_type is UserWarning else error.error_type  # a duplicate is refused, not warned of
    if error.error_on is OptimizerErrorEnum.CONSTRUCTION_ERROR:
        with pytest.raises(kind, match=error.error_regex):
            OURS[name](params, **bad.kwargs)
    else:
        opt = OURS[name](params, **bad.kwargs)
        with pytest.raises(kind, match=error.error_regex):
            opt.step()


@each_input
@pytest.mark.parametrize("inward", [True, False], ids=["torch to dlopt", "dlopt to torch"])
def test_checkpoints_go_in_and_out(name, kwargs, inward):
    theirs, ours = INFOS[name].optim_cls, OURS[name]
    ps, qs = start(name), start(name)
    given = list(gradients(name, ps))
    whole = theirs(qs, **kwargs)
    steps(name, whole, qs, given)
    first, second = (theirs, ours) if inward else (ours, theirs)
    opt = first(ps, **kwargs)
    steps(name, opt, ps, given[:12])
    again = second(ps, **kwargs)
    again.load_state_dict(copy.deepcopy(opt.state_dict()))
    steps(name, again, ps, given[12:])
    # torch's SparseAdam counts in Python numbers; from a count that is a tensor it corrects in float32
    tolerance = dict(rtol=1e-5, atol=1e-6) if name == "SparseAdam" and not inward else close(kwargs)
    for a, b in zip(ps, qs, strict=True):
        torch.testing.assert_close(a, b, **tolerance)
    states = [o.state_dict()["state"].get(0, {}) for o in (again, whole)]
    assert [{k for k, v in state.items() if v is not None} for state in states].count(
        set(states[0])
    ) == 2 or name == "SGD"


@pytest.mark.parametrize("name", INFOS)
def test_every_keyword_of_torch_is_taken_with_its_default(name):
    theirs = inspect.signature(INFOS[name].optim_cls).parameters
    ours = inspect.signature(OURS[name]).parameters
    assert {k: v.default for k, v in theirs.items() if k != "params"} == {
        k: ours[k].default for k in theirs if k != "params"
    }


def test_a_dense_gradient_of_another_rate_is_not_torchs():
    """The comparison sees what it should."""
    ours, theirs = start("Adam"), start("Adam")
    given = list(gradients("Adam", ours))
    steps("Adam", dlopt.Adam(ours, eps=1.1e-8, lr=1e-3), ours, given)
    steps("Adam", torch.optim.Adam(theirs, lr=1e-3), theirs, given)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(ours[0], theirs[0], rtol=1e-12, atol=1e-13)
