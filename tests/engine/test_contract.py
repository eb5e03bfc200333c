"""What every optimizer of dlopt promises. New ones are found among the public names by themselves."""

import copy
import inspect
import io

import numpy as np
import pytest
import torch

import dlopt
from dlopt.engine import RuleOptimizer, faces
from dlopt.engine.faces import llvm

OPTIMIZERS = [
    c for name in dlopt.__all__ if inspect.isclass(c := getattr(dlopt, name)) and issubclass(c, RuleOptimizer)
]
FACES = ["numpy", "torch", "llvm"] if llvm.missing() is None else ["numpy", "torch"]


def faces_of(optimizer):
    return ["torch"] if optimizer.matrix else FACES


def shaped(optimizer, t):
    """`t`, or where the class takes no fewer than two dimensions the same numbers as a matrix."""
    if optimizer.sparse_only and t.dim() == 0:
        return t.reshape(1)
    return t if t.dim() >= optimizer.least_dim else t.reshape(1, -1)


def given(optimizer, grad):
    """`grad` in the layout that the class takes."""
    return grad.to_sparse(min(1, grad.dim())) if optimizer.sparse_only else grad


def dense(grad):
    return grad.to_dense() if grad.is_sparse else grad


DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
WRITING = ["plain", "kahan"]

each_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda c: c.__name__)
each_pair = pytest.mark.parametrize(
    "optimizer, face", [pytest.param(c, f, id=f"{c.__name__}-{f}") for c in OPTIMIZERS for f in faces_of(c)]
)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d).removeprefix("torch."))


def settings(optimizer):
    """Keyword sets to try: the defaults, and every switch the class has, decay never zero."""
    names = inspect.signature(optimizer).parameters
    decay = {"weight_decay": 0.05} if "weight_decay" in names else {}
    sets = [decay, {**decay, "maximize": True}]
    if "momentum" in names:
        sets += [{**decay, "momentum": 0.9}]
    if "dampening" in names:
        sets += [{**decay, "momentum": 0.9, "dampening": 0.3}]
    if "nesterov" in names:
        sets += [{**decay, "momentum": 0.9, "nesterov": True}]
    if "decoupled_weight_decay" in names:
        sets += [{**s, "decoupled_weight_decay": True} for s in sets[-1:]]
        sets += [{**decay, "decoupled_weight_decay": True}]
    if "l1" in names:
        sets += [{**decay, "l1": 0.3}]
    for name in ("amsgrad", "centered", "nesterov" if "dampening" not in names else "amsgrad"):
        if name in names:
            sets += [{**decay, name: not names[name].default}]
    if "centered" in names:
        sets += [{**decay, "centered": True, "momentum": 0.9}]
    if "amsgrad" in names and "decoupled_weight_decay" in names:
        sets += [{**decay, "amsgrad": True, "decoupled_weight_decay": True}]
    if "convention" in names:
        sets += [{**decay, "convention": "paper"}]
    if "betas" in names:
        sets += [{**decay, "betas": (0.0, 0.9)}]
    if "warmup_steps" in names:
        sets += [{**decay, "warmup_steps": 3, "r": 1.0}]
    if "l2" in names:
        sets += [{"l1": 0.1, "l2": 0.2, "beta": 0.0}]
    return sets


def label(optimizer, setting):
    return f"{optimizer.__name__}-" + "-".join(f"{k}={v}" for k, v in setting.items() if k != "weight_decay")


CASES = [(c, s) for c in OPTIMIZERS for s in settings(c)]
each_case = pytest.mark.parametrize("optimizer, setting", [pytest.param(c, s, id=label(c, s)) for c, s in CASES])
each_case_and_face = pytest.mark.parametrize(
    "optimizer, setting, face",
    [pytest.param(c, s, f, id=f"{label(c, s)}-{f}") for c, s in CASES for f in faces_of(c)],
)


class Problem:
    """A function to minimize: its start, and its loss."""

    def __init__(self, name):
        self.name = name
        g = torch.Generator().manual_seed(0)
        self.x = torch.randn(16, 5, generator=g, dtype=torch.float64)
        self.y = torch.randn(16, 2, generator=g, dtype=torch.float64)
        self.start = {
            "quadratic": [torch.linspace(-1, 1, 7, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64)],
            "rosenbrock": [torch.tensor([-0.6, 0.7], dtype=torch.float64)],
            "net": [torch.randn(s, generator=g, dtype=torch.float64) * 0.5 for s in ((5, 4), (4,), (4, 2), (0, 3))],
        }[name]

    def parameters(self, optimizer, dtype):
        return [shaped(optimizer, t).to(dtype, copy=True).requires_grad_() for t in self.start]

    def loss(self, ps):
        wide = [p.double() for p in ps]
        if self.name == "quadratic":
            return sum((torch.arange(1.0, p.numel() + 1) * p.reshape(-1) ** 2).sum() for p in wide) / 20
        if self.name == "rosenbrock":
            a, b = wide[0].reshape(-1)
            return ((1 - a) ** 2 + 100 * (b - a * a) ** 2) / 500
        w1, b1, w2, nothing = wide
        return ((torch.tanh(self.x @ w1 + b1) @ w2 - self.y) ** 2).mean() + nothing.sum()

    def descend(self, opt, ps, steps):
        for _ in range(steps):
            opt.zero_grad()
            self.loss(ps).backward()
            for p in ps:
                p.grad = given(type(opt), p.grad)
            opt.step()


LR_ABOVE_ZERO = {dlopt.FTRL, dlopt.SparseAdam}
PROBLEMS = {name: Problem(name) for name in ("quadratic", "rosenbrock", "net")}
each_problem = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)


def small(setting):
    """Maximizing for a hundred steps overflows: climb slowly."""
    return {**setting, "lr": 1e-4} if setting.get("maximize") else {**setting, "lr": 0.01}


several_faces = pytest.mark.parametrize(
    "optimizer, setting", [pytest.param(c, s, id=label(c, s)) for c, s in CASES if not c.matrix]
)


@several_faces
@each_problem
def test_faces_agree_in_float64_after_100_steps(optimizer, setting, problem):
    results = {}
    for face in faces_of(optimizer):
        ps = problem.parameters(optimizer, torch.float64)
        opt = optimizer(ps, **small(setting))
        with faces.use(face):
            problem.descend(opt, ps, 100)
        results[face] = torch.cat([p.detach().reshape(-1) for p in ps])
    for face in set(results) - {"numpy"}:
        torch.testing.assert_close(results[face], results["numpy"], rtol=1e-12, atol=1e-13)
    if "llvm" in results:
        assert torch.equal(results["llvm"], results["numpy"])


@several_faces
@each_dtype
@pytest.mark.parametrize("writing", WRITING)
def test_faces_agree_step_by_step(optimizer, setting, dtype, writing):
    """llvm is NumPy bit for bit; torch stays within 4 units in the last place of the computing type."""
    g = torch.Generator().manual_seed(1)
    start = torch.randn(2, 1037, generator=g)
    grads = torch.randn(5, 2, 1037, generator=g)
    ps = {face: [row.to(dtype).requires_grad_() for row in start] for face in FACES}
    opts = {face: optimizer(ps[face], writing=writing, **small(setting)) for face in FACES}
    for grad in grads:
        before = [p.detach().double().clone() for p in ps["numpy"]]
        state = copy.deepcopy(opts["numpy"].state_dict())
        for face in FACES:
            opts[face].load_state_dict(state)
            for p, source, row in zip(ps[face], ps["numpy"], grad, strict=True):
                p.data.copy_(source.data)
                p.grad = given(optimizer, row.to(dtype))
        for face in FACES:
            with faces.use(face):
                opts[face].step()
        for old, *new in zip(before, *(ps[face] for face in FACES), strict=True):
            values = dict(zip(FACES, (p.detach() for p in new), strict=True))
            if "llvm" in FACES:
                assert torch.equal(values["llvm"], values["numpy"])
            scale = torch.maximum(old.abs(), values["numpy"].double().abs())
            unit = torch.finfo(dtype).eps * scale.clamp(min=0.01)
            assert ((values["torch"].double() - values["numpy"].double()).abs() <= 4 * unit).all()


@each_pair
@each_dtype
@each_problem
def test_descends(optimizer, face, dtype, problem):
    ps = problem.parameters(optimizer, dtype)
    first = problem.loss(ps).item()
    with faces.use(face):
        problem.descend(optimizer(ps, lr=0.01, writing="kahan"), ps, 60)  # plain bfloat16 stalls
    assert problem.loss(ps).item() < first


@each_case_and_face
@each_dtype
@pytest.mark.parametrize("writing", WRITING)
def test_resume_is_exact(optimizer, setting, face, dtype, writing):
    problem = PROBLEMS["net"]

    def run(steps, saved=None):
        ps = (
            problem.parameters(optimizer, dtype) if saved is None else [p.clone().requires_grad_() for p in saved["ps"]]
        )
        opt = optimizer(ps, writing=writing, **small(setting))
        if saved is not None:
            opt.load_state_dict(saved["opt"])
        with faces.use(face):
            problem.descend(opt, ps, steps)
        return {"ps": [p.detach() for p in ps], "opt": opt.state_dict()}

    whole = run(9)
    file = io.BytesIO()
    torch.save(run(4), file)
    file.seek(0)
    resumed = run(5, torch.load(file, weights_only=True))
    for a, b in zip(whole["ps"], resumed["ps"], strict=True):
        assert torch.equal(a, b)
    for entry, again in zip(whole["opt"]["state"].values(), resumed["opt"]["state"].values(), strict=True):
        assert entry.keys() == again.keys()
        for key in entry:
            assert entry[key].dtype == again[key].dtype and torch.equal(entry[key], again[key])


@each_pair
def test_a_face_repeats_itself(optimizer, face):
    runs = []
    for _ in range(2):
        ps = PROBLEMS["net"].parameters(optimizer, torch.float32)
        with faces.use(face):
            PROBLEMS["net"].descend(optimizer(ps, lr=0.01), ps, 20)
        runs.append(torch.cat([p.detach().reshape(-1) for p in ps]))
    assert torch.equal(*runs)


@each_case_and_face
@each_dtype
def test_gradient_untouched(optimizer, setting, face, dtype):
    p = shaped(optimizer, torch.linspace(-1, 1, 50, dtype=dtype)).requires_grad_()
    p.grad = given(optimizer, torch.linspace(2, 3, 50, dtype=dtype).view_as(p))
    before = dense(p.grad).clone()
    with faces.use(face):
        optimizer([p], **small(setting)).step()
    assert torch.equal(dense(p.grad), before)


@each_case_and_face
def test_lr_zero_changes_only_state_or_is_refused(optimizer, setting, face):
    p = shaped(optimizer, torch.linspace(-1, 1, 50)).requires_grad_()
    p.grad = given(optimizer, torch.linspace(2, 3, 50).view_as(p))
    before = p.detach().clone()
    opt = optimizer([p], **small(setting))
    opt.param_groups[0]["lr"] = 0.0
    if optimizer in LR_ABOVE_ZERO:
        with pytest.raises(ValueError, match="Invalid learning rate: 0.0"):
            optimizer([p], **{**setting, "lr": 0.0})
    if optimizer is dlopt.FTRL:
        with faces.use(face), pytest.raises(ValueError, match="Invalid learning rate: 0.0"):
            opt.step()
        assert not opt.state
        return
    with faces.use(face):
        opt.step()
    assert torch.equal(p.detach(), before)


@each_pair
def test_accumulated_is_whole_batch(optimizer, face):
    problem = PROBLEMS["net"]
    results = []
    for parts in (1, 4):
        ps = problem.parameters(optimizer, torch.float64)
        opt = optimizer(ps, lr=0.01)
        with faces.use(face):
            for _ in range(5):
                opt.zero_grad()
                for x, y in zip(problem.x.chunk(parts), problem.y.chunk(parts), strict=True):
                    w1, b1, w2, _ = ps
                    (((torch.tanh(x @ w1 + b1) @ w2 - y) ** 2).mean() / parts).backward()
                for p in ps:
                    p.grad = p.grad if p.grad is None else given(optimizer, p.grad)
                opt.step()
        results.append(torch.cat([p.detach().reshape(-1) for p in ps]))
    torch.testing.assert_close(*results, rtol=1e-11, atol=1e-13)


@each_pair
def test_tensors_of_every_shape(optimizer, face):
    """Zero-size, zero-dim, transposed, channels-last, a slice of something larger: as the contiguous copy."""
    base = torch.randn(6, 8, dtype=torch.float64)
    shapes = [
        torch.randn(0, 3, dtype=torch.float64), torch.tensor(1.5, dtype=torch.float64), base.clone().t(),
        torch.randn(2, 3, 4, 5, dtype=torch.float64).to(memory_format=torch.channels_last), base.clone()[:, ::2],
    ]  # fmt: skip
    odd = [shaped(optimizer, t).requires_grad_() for t in shapes]
    even = [t.detach().clone(memory_format=torch.contiguous_format).requires_grad_() for t in odd]
    opts = [optimizer(odd, lr=0.01), optimizer(even, lr=0.01)]
    for _ in range(3):
        for p, q in zip(odd, even, strict=True):
            grad = torch.randn_like(q)
            q.grad, p.grad = given(optimizer, grad), given(optimizer, grad.clone(memory_format=torch.contiguous_format))
        with faces.use("torch" if face == "llvm" else face):
            opts[0].step()
        with faces.use(face):
            opts[1].step()
    for p, q in zip(odd, even, strict=True):
        torch.testing.assert_close(p.detach(), q.detach(), rtol=1e-13, atol=1e-14)


@each_optimizer
def test_left_alone_takes_what_a_fused_face_cannot(optimizer):
    """A strided slice has no flat memory: the engine falls back for that tensor alone."""
    whole = torch.randn(6, 8, dtype=torch.float64)
    p, q = whole[:, ::2].requires_grad_(), shaped(optimizer, torch.randn(3, dtype=torch.float64)).requires_grad_()
    twin = p.detach().clone().requires_grad_()
    for t in (p, q, twin):
        t.grad = given(optimizer, torch.ones_like(t))
    optimizer([p, q], lr=0.1).step()
    optimizer([twin], lr=0.1).step()
    torch.testing.assert_close(p.detach(), twin.detach(), rtol=1e-14, atol=0)


@each_pair
def test_frozen_and_missing_gradients(optimizer, face):
    """A parameter without a gradient keeps value and state; freezing and thawing mid-run works."""
    a, b = (shaped(optimizer, torch.ones(4)).requires_grad_() for _ in range(2))
    opt = optimizer([a, b], lr=0.1)
    with faces.use(face):
        for active in ((a,), (a, b), (b,), ()):
            a.grad = b.grad = None
            before = {p: p.detach().clone() for p in (a, b)}
            for p in active:
                p.grad = given(optimizer, torch.ones_like(p))
            opt.step()
            for p in (a, b):
                moved = not torch.equal(p.detach(), before[p])
                assert moved == any(p is q for q in active)


@each_pair
def test_refusals_change_nothing(optimizer, face):
    good, bad = torch.ones(3, 3, requires_grad=True), torch.ones(1).expand(3, 3).requires_grad_()
    opt = optimizer([{"params": [good]}, {"params": [bad]}], lr=0.1)
    good.grad, bad.grad = (given(optimizer, torch.ones(3, 3)) for _ in range(2))
    with faces.use(face), pytest.raises(RuntimeError, match="single memory location"):
        opt.step()
    assert torch.equal(good.detach(), torch.ones(3, 3)) and not opt.state


@each_optimizer
@pytest.mark.parametrize("lr", [-1.0, float("nan"), float("inf"), "0.1", None, [0.1], 1j])
def test_bad_lr(optimizer, lr):
    with pytest.raises(ValueError, match="Invalid learning rate"):
        optimizer([torch.ones(2, 2, requires_grad=True)], lr=lr)
    with pytest.raises(ValueError, match="Invalid learning rate"):
        optimizer([{"params": [torch.ones(2, 2, requires_grad=True)], "lr": lr}])


def numbers(optimizer):
    """The hyperparameters that are numbers, with their defaults."""
    defaults = optimizer([torch.ones(2, 2, requires_grad=True)]).defaults
    return {k: v for k, v in defaults.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}


NUMBERS = [pytest.param(c, name, id=f"{c.__name__}-{name}") for c in OPTIMIZERS for name in numbers(c)]
BOTH_SIGNS = {"dampening", "beta2_decay"}


@pytest.mark.parametrize("optimizer, name", NUMBERS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), "0.1", None, [0.1], 1j, -1.0, torch.tensor([0.1, 0.2])])
def test_bad_numbers(optimizer, name, value):
    if name in BOTH_SIGNS and isinstance(value, float) and value == -1:
        pytest.skip("a negative value is a good one")
    p = torch.ones(2, 2, requires_grad=True)
    with pytest.raises(ValueError):
        optimizer([p], **{name: value})
    with pytest.raises(ValueError):
        optimizer([{"params": [p], name: value}])
    opt = optimizer([p])
    with pytest.raises(ValueError):
        opt.add_param_group({"params": [torch.ones(2, 2, requires_grad=True)], name: value})
    assert len(opt.param_groups) == 1
    state = copy.deepcopy(opt.state_dict())
    state["param_groups"][0][name] = value
    with pytest.raises(ValueError):
        opt.load_state_dict(state)


BAD_BETAS = [(0.9,), 0.9, None, (0.9, 1.0), (1.0, 0.9), (-0.1, 0.9), (float("nan"), 0.9), ("a", 0.9), (0.9, 0.9, 0.9)]


@pytest.mark.parametrize("optimizer", [c for c in OPTIMIZERS if "betas" in inspect.signature(c).parameters])
@pytest.mark.parametrize("betas", BAD_BETAS, ids=str)
def test_bad_betas(optimizer, betas):
    with pytest.raises(ValueError, match="Invalid beta"):
        optimizer([torch.ones(2, requires_grad=True)], betas=betas)


@pytest.mark.parametrize("optimizer", [c for c in OPTIMIZERS if "convention" in inspect.signature(c).parameters])
def test_bad_convention(optimizer):
    with pytest.raises(ValueError, match="Invalid convention"):
        optimizer([torch.ones(2, requires_grad=True)], convention="keras")


@each_optimizer
def test_what_cannot_be_had_is_refused_with_the_reason(optimizer):
    p = torch.ones(2, 2, requires_grad=True)
    with pytest.raises(RuntimeError, match="capturable=True.*supported devices.*CUDA graphs"):
        optimizer([p], capturable=True)
    with pytest.raises(RuntimeError, match="cannot be `True` together"):
        optimizer([p], fused=True, foreach=True)
    if optimizer.matrix:
        with pytest.raises(RuntimeError, match="does not support `differentiable`"):
            optimizer([p], differentiable=True)
        opt = optimizer([p], fused=True)
        p.grad = torch.ones(2, 2)
        with pytest.raises(RuntimeError, match="matrix rule runs on the torch face"):
            opt.step()
        assert torch.equal(p.detach(), torch.ones(2, 2)) and not opt.state


@each_optimizer
def test_gradients_of_the_wrong_kind_are_refused_before_anything_changes(optimizer):
    good, bad = torch.ones(3, 2, requires_grad=True), torch.ones(3, 2, requires_grad=True)
    opt = optimizer([good, bad], **settings(optimizer)[0])
    good.grad = given(optimizer, torch.ones(3, 2))
    if optimizer.sparse_only:
        bad.grad = torch.ones(3, 2)
    elif optimizer is dlopt.FTRL:
        pytest.skip("it takes both kinds")
    else:
        bad.grad = torch.ones(3, 2).to_sparse(1)
    words = "does not support (sparse|dense) gradients, please consider dlopt|cannot be used with sparse gradients"
    with pytest.raises(RuntimeError, match=words):
        opt.step()
    assert torch.equal(good.detach(), torch.ones(3, 2)) and not opt.state


@each_optimizer
def test_bad_parameters(optimizer):
    p = torch.ones(2, 2, requires_grad=True)
    cases = [
        (p, TypeError, "should be an iterable of Tensors or dicts"),
        ([], ValueError, "empty parameter list"),
        ([p * 2], ValueError, "can't optimize a non-leaf Tensor"),
        ([p, p], ValueError, "duplicate parameters"),
        ([{"params": p}, {"params": p}], ValueError, "more than one parameter group"),
        (["w"], TypeError, "can only optimize Tensors"),
        ([{"params": {p}}], TypeError, "ordered collections"),
        ([("w", p), torch.ones(1, requires_grad=True)], ValueError, "Some param names are missing"),
    ]
    for params, error, words in cases:
        with pytest.raises(error, match=words):
            optimizer(params, lr=0.1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'speed'"):
        optimizer([p], lr=0.1, speed=2)
    with pytest.raises(ValueError, match="Invalid writing"):
        optimizer([p], lr=0.1, writing="chalk")


@each_optimizer
def test_hyperparameter_that_turns_nan_is_refused(optimizer):
    p = torch.ones(2, 2, requires_grad=True)
    opt = optimizer([p], lr=0.1)
    p.grad = given(optimizer, torch.ones(2, 2))
    opt.param_groups[0]["lr"] = float("nan")
    with pytest.raises(ValueError, match="Invalid (lr|learning rate): nan"):
        opt.step()
    assert torch.equal(p.detach(), torch.ones(2, 2)) and not opt.state


@each_optimizer
def test_a_refusal_after_steps_changes_nothing(optimizer):
    ps = [torch.ones(2, 2, requires_grad=True) for _ in range(2)]
    opt = optimizer([{"params": [p]} for p in ps], lr=0.1)
    for p in ps:
        p.grad = given(optimizer, torch.ones(2, 2))
    opt.step(), opt.step()
    places, states = copy.deepcopy((ps, opt.state_dict()["state"]))
    opt.param_groups[1]["lr"] = float("nan")
    with pytest.raises(ValueError, match="nan"):
        opt.step()
    assert all(map(torch.equal, ps, places))
    for entry, old in zip(opt.state_dict()["state"].values(), states.values(), strict=True):
        assert entry.keys() == old.keys() and all(torch.equal(entry[key], old[key]) for key in old)


DECAYS = {"weight_decay", "decoupled_weight_decay"}
UNSWITCHED = [c for c in OPTIMIZERS if DECAYS & set(inspect.signature(c).parameters) == {"weight_decay"}]


@pytest.mark.parametrize("optimizer", UNSWITCHED, ids=lambda c: c.__name__)
def test_a_switch_that_the_class_has_not_changes_nothing(optimizer):
    ends = []
    for stray in ({}, {"decoupled_weight_decay": not optimizer.decoupled}):
        p = torch.ones(2, 2, requires_grad=True)
        opt = optimizer([{"params": [p], **stray}], lr=0.1, weight_decay=0.1)
        p.grad = torch.zeros(2, 2)
        opt.step()
        ends.append(p.detach())
    assert torch.equal(*ends) and (p < 1).all()


@each_case
def test_state_dict_is_checked_before_anything_changes(optimizer, setting):
    p = torch.ones(3, 3, requires_grad=True)
    opt = optimizer([p], **small(setting))
    p.grad = given(optimizer, torch.ones(3, 3))
    opt.step()
    good = copy.deepcopy(opt.state_dict())
    before = copy.deepcopy(good)
    surplus, shape, group, params = (copy.deepcopy(good) for _ in range(4))
    surplus["state"].setdefault(0, {})["speed"] = torch.ones(3, 3)
    for key, value in shape["state"].get(0, {}).items():
        shape["state"][0][key] = torch.ones(4) if value.dim() else value
    del group["param_groups"][0]["lr"]
    params["param_groups"][0]["params"] = [0, 1]
    broken = [surplus, group, params] + ([shape] if opt.state else [])
    for state in broken:
        with pytest.raises(ValueError, match="loaded"):
            opt.load_state_dict(state)
        after = opt.state_dict()
        assert after["param_groups"] == before["param_groups"]
        for entry, old in zip(after["state"].values(), before["state"].values(), strict=True):
            assert all(torch.equal(entry[key], old[key]) for key in old)
    opt.load_state_dict(good)


@each_optimizer
def test_half_parameters_keep_wide_state(optimizer):
    p = torch.ones(8, 8, dtype=torch.bfloat16, requires_grad=True)
    kw = {"momentum": 0.9} if "momentum" in inspect.signature(optimizer).parameters else {}
    opt = optimizer([p], lr=0.1, **kw)
    p.grad = given(optimizer, torch.full_like(p, 0.3))
    opt.step()
    again = optimizer([p], lr=0.1, **kw)
    again.load_state_dict(opt.state_dict())
    moments = [t for entry in again.state.values() for t in entry.values() if t.dim()]
    assert bool(moments) == bool(optimizer.state_keys) and all(t.dtype == torch.float32 for t in moments)


@each_optimizer
def test_copies_and_pickles(optimizer):
    import pickle

    model = torch.nn.Linear(3, 2)
    opt = optimizer([model.weight], lr=0.1)

    def step(model, opt):
        opt.zero_grad()
        model(torch.ones(1, 3)).sum().backward()
        model.weight.grad = given(optimizer, model.weight.grad)
        opt.step()

    for make in (copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))):
        step(model, opt)
        twin, other = make((model, opt))
        for m, o in ((model, opt), (twin, other)):
            step(m, o)
        assert torch.equal(model.weight, twin.weight)


@each_pair
def test_version_counters_move(optimizer, face):
    """Autograd must notice that the step changed a tensor that a graph still needs."""
    p = torch.ones(3, 3, requires_grad=True)
    y = (p * p).sum()
    p.grad = given(optimizer, torch.ones(3, 3))
    with faces.use(face):
        optimizer([p], lr=0.1).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


@several_faces
def test_differentiable_steps_have_the_derivatives_of_finite_differences(optimizer, setting):
    """Through three steps, with respect to the start and to a learning rate that is a tensor."""
    if optimizer.sparse_only:
        pytest.skip("a sparse gradient is not part of a graph")
    start = torch.tensor([1.0, -0.5, 0.8], dtype=torch.float64, requires_grad=True)
    lr = torch.tensor(0.02, dtype=torch.float64, requires_grad=True)

    def end(lr, start):
        w = start.clone()
        opt = optimizer([w], **{**setting, "lr": lr, "differentiable": True})
        for _ in range(3):
            w.grad = w.clone() + 3 * w.clone() ** 3
            opt.step()
        return w * torch.arange(1.0, 4, dtype=torch.float64)

    if optimizer in (dlopt.ScheduleFreeSGD, dlopt.ScheduleFreeAdamW):
        with pytest.raises(RuntimeError, match="keeps numbers that depend on lr"):
            end(lr, start)
        lr = 0.02
    assert torch.autograd.gradcheck(end, (lr, start))


@each_optimizer
def test_docstring_names_paper_state_and_example(optimizer):
    doc = inspect.getdoc(optimizer)
    for word in ("Args:", "Raises:", "Example:", "lr", ">>>"):
        assert word in doc, f"{optimizer.__name__}'s docstring has no {word}"
    source = inspect.getsource(inspect.getmodule(optimizer))
    assert len(source.splitlines()) <= 130
    assert np.any([str(year) in source for year in range(1950, 2030)]), "no paper is cited"
