"""Truths for schedules: torch's schedulers step by step, formulas of other libraries, facts of mathematics."""

import copy
import io
import itertools
import math
import pickle
import time
import timeit
import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as torch_schedulers

import dlopt
from dlopt import lab
from dlopt.engine import GrammarError, xp
from dlopt.lab.fingerprint import fingerprint
from dlopt.sgd import schedules

LR = 0.37
LONG = 320


def optimizer(lr=LR, groups=1, factory=torch.optim.SGD):
    return factory([{"params": [torch.ones(2, requires_grad=True)], "lr": lr / (i + 1)} for i in range(groups)], lr=lr)


def rates(make, steps=LONG, **kw):
    """The learning rates of all groups at each of the steps, under the scheduler that `make` builds."""
    opt = optimizer(**kw)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # SequentialLR's own words about its own calls
        scheduler = make(opt)
        for _ in range(steps):
            found.append([group["lr"] for group in opt.param_groups])
            opt.step()
            scheduler.step()
    return np.array(found)


def ours(schedule):
    return lambda opt: torch_schedulers.LambdaLR(opt, schedule)


def theirs(name, **kw):
    return lambda opt: getattr(torch_schedulers, name)(opt, **kw)


def chained(*makers):
    return lambda opt: torch_schedulers.ChainedScheduler([make(opt) for make in makers])


def one_after_another(makers, milestones):
    return lambda opt: torch_schedulers.SequentialLR(opt, [make(opt) for make in makers], milestones)


FLOOR = 0.1
CASES = {
    "ConstantLR": (schedules.constant(1 / 3, 5), theirs("ConstantLR")),
    "ConstantLR, one step": (schedules.constant(0.25, 1), theirs("ConstantLR", factor=0.25, total_iters=1)),
    "LinearLR": (schedules.linear(5, 1 / 3, 1), theirs("LinearLR")),
    "LinearLR, down": (schedules.linear(300, 0.9, 0.2), theirs("LinearLR", start_factor=0.9, end_factor=0.2, total_iters=300)),
    "LinearLR, one step": (schedules.linear(1, 0.5, 0.7), theirs("LinearLR", start_factor=0.5, end_factor=0.7, total_iters=1)),
    "StepLR": (schedules.step(30), theirs("StepLR", step_size=30)),
    "StepLR, every step": (schedules.step(1, 0.97), theirs("StepLR", step_size=1, gamma=0.97)),
    "StepLR, gamma 1": (schedules.step(7, 1), theirs("StepLR", step_size=7, gamma=1)),
    "MultiStepLR": (schedules.multi_step([1, 30, 31, 200], 0.3), theirs("MultiStepLR", milestones=[1, 30, 31, 200], gamma=0.3)),
    "ExponentialLR": (schedules.exponential(0.97), theirs("ExponentialLR", gamma=0.97)),
    "ExponentialLR, gamma 1": (schedules.exponential(1.0), theirs("ExponentialLR", gamma=1.0)),
    "PolynomialLR": (schedules.polynomial(200), theirs("PolynomialLR", total_iters=200)),
    "PolynomialLR, power 2.5": (schedules.polynomial(250, 2.5), theirs("PolynomialLR", total_iters=250, power=2.5)),
    "PolynomialLR, root": (schedules.polynomial(301, 0.5), theirs("PolynomialLR", total_iters=301, power=0.5)),
    "PolynomialLR, one step": (schedules.polynomial(1), theirs("PolynomialLR", total_iters=1)),
    "CosineAnnealingLR": (schedules.cosine(100), theirs("CosineAnnealingLR", T_max=100)),
    "CosineAnnealingLR, floor": (schedules.cosine(77, FLOOR), theirs("CosineAnnealingLR", T_max=77, eta_min=FLOOR * LR)),
    "CosineAnnealingLR, one step": (schedules.cosine(1, FLOOR), theirs("CosineAnnealingLR", T_max=1, eta_min=FLOOR * LR)),
    "WarmRestarts": (schedules.cosine_restarts(50), theirs("CosineAnnealingWarmRestarts", T_0=50)),
    "WarmRestarts, doubling": (schedules.cosine_restarts(7, 2, FLOOR), theirs("CosineAnnealingWarmRestarts", T_0=7, T_mult=2, eta_min=FLOOR * LR)),
    "WarmRestarts, tripling": (schedules.cosine_restarts(1, 3), theirs("CosineAnnealingWarmRestarts", T_0=1, T_mult=3)),
    "WarmRestarts, one step": (schedules.cosine_restarts(1), theirs("CosineAnnealingWarmRestarts", T_0=1)),
    "SequentialLR": (
        schedules.sequential([schedules.constant(0.1, 20), schedules.exponential(0.99), schedules.step(30)], [25, 150]),
        one_after_another([theirs("ConstantLR", factor=0.1, total_iters=20), theirs("ExponentialLR", gamma=0.99), theirs("StepLR", step_size=30)], [25, 150]),
    ),
    "warm-up, cosine": (
        schedules.warmup(10, schedules.cosine(90), start=0.01),
        one_after_another([theirs("LinearLR", start_factor=0.01, total_iters=10), theirs("CosineAnnealingLR", T_max=90)], [10]),
    ),
    "warm-up, restarts": (
        schedules.warmup(13, schedules.cosine_restarts(10, 2), start=0.5),
        one_after_another([theirs("LinearLR", start_factor=0.5, total_iters=13), theirs("CosineAnnealingWarmRestarts", T_0=10, T_mult=2)], [13]),
    ),
    "ChainedScheduler": (
        schedules.constant(0.1, 20) * schedules.exponential(0.99) * schedules.step(100),
        chained(theirs("ConstantLR", factor=0.1, total_iters=20), theirs("ExponentialLR", gamma=0.99), theirs("StepLR", step_size=100)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("schedule, torch_make", CASES.values(), ids=CASES)
def test_the_rates_are_torchs_over_the_end_and_past_it(schedule, torch_make):
    np.testing.assert_allclose(rates(ours(schedule)), rates(torch_make), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("schedule, torch_make", CASES.values(), ids=CASES)
def test_and_after_a_resume_from_a_file_in_the_middle(schedule, torch_make):
    whole = rates(torch_make)
    opt = optimizer()
    scheduler = torch_schedulers.LambdaLR(opt, schedule)
    for _ in range(57):
        opt.step()
        scheduler.step()
    file = io.BytesIO()
    torch.save({"opt": opt.state_dict(), "scheduler": scheduler.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    opt = optimizer(lr=99.0)
    resumed = torch_schedulers.LambdaLR(opt, schedule)
    opt.load_state_dict(saved["opt"])
    resumed.load_state_dict(saved["scheduler"])
    rest = []
    for _ in range(57, LONG):
        rest.append(opt.param_groups[0]["lr"])
        opt.step()
        resumed.step()
    np.testing.assert_allclose(rest, whole[57:, 0], rtol=1e-12, atol=1e-12)


CYCLES = [
    dict(steps=steps, pct_start=pct_start, anneal_strategy=strategy, three_phase=three_phase)
    for steps in (1, 2, 97, 300)
    for pct_start in (0.0, 0.1, 0.25, 0.3, 1 / 3, 0.5, 0.7, 1.0)
    for strategy in ("cos", "linear")
    for three_phase in (False, True)
    if pct_start * steps != 1
]


@pytest.mark.parametrize("cycle", CYCLES, ids=lambda c: "-".join(str(v)[:4] for v in c.values()))
def test_one_cycle_and_its_momentum_are_torchs(cycle):
    steps = cycle["steps"]
    opt = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0, momentum=0.9)
    options = {**cycle, "total_steps": steps, "div_factor": 20.0, "final_div_factor": 100.0}
    del options["steps"]
    scheduler = torch_schedulers.OneCycleLR(opt, LR, base_momentum=0.8, max_momentum=0.9, **options)
    lr, momentum = [], []
    for t in range(steps):
        lr.append(opt.param_groups[0]["lr"])
        momentum.append(opt.param_groups[0]["momentum"])
        opt.step()
        if t < steps - 1:
            scheduler.step()
    rate = schedules.one_cycle(**cycle, div_factor=20.0, final_div_factor=100.0)
    beside = schedules.one_cycle_momentum(**cycle, base_momentum=0.8, max_momentum=0.9)
    np.testing.assert_allclose([LR * rate(t) for t in range(steps)], lr, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose([beside(t) for t in range(steps)], momentum, rtol=1e-12, atol=1e-12)
    assert rate(steps + 5) == rate(steps - 1) and beside(steps + 5) == beside(steps - 1)


def test_the_defaults_of_one_cycle_are_torchs():
    make = theirs("OneCycleLR", max_lr=LR, total_steps=301, cycle_momentum=False)
    np.testing.assert_allclose(rates(ours(schedules.one_cycle(301)), 300), rates(make, 300), rtol=1e-12)


# Formulas of other libraries and papers, written out


def huggingface_warmup_cosine(t, warmup, total, cycles=0.5):
    if t < warmup:
        return t / max(1, warmup)
    progress = (t - warmup) / max(1, total - warmup)
    return max(0.0, 0.5 * (1 + math.cos(math.pi * cycles * 2 * progress)))


def huggingface_warmup_linear(t, warmup, total):
    if t < warmup:
        return t / max(1, warmup)
    return max(0.0, (total - t) / max(1, total - warmup))


def huggingface_inverse_sqrt(t, warmup):
    return t / max(1, warmup) if t < warmup else 1 / math.sqrt(t / warmup)


def huggingface_polynomial(t, total, power, lr_end):
    return lr_end if t > total else (1 - lr_end) * (1 - t / total) ** power + lr_end


def optax_cosine_decay(t, steps, alpha):
    return (1 - alpha) * 0.5 * (1 + math.cos(math.pi * min(t, steps) / steps)) + alpha


def optax_exponential_decay(t, begin, steps, rate):
    return begin * rate ** (t / steps)


def huggingface_wsd(t, warmup, stable, decay, kind, floor):
    if t < warmup:
        return t / warmup
    if t < warmup + stable:
        return 1.0
    share = (t - warmup - stable) / decay
    if share >= 1:
        return floor
    factor = {"linear": 1 - share, "cosine": 0.5 * (1 + math.cos(math.pi * share)), "1-sqrt": 1 - math.sqrt(share)}[
        kind
    ]
    return factor * (1 - floor) + floor


def keras_inverse_time_decay(t, steps):
    return 1 / (1 + t / steps)


def vaswani_2017(t, warmup):
    step = t + 1
    return min(step**-0.5, step * warmup**-1.5) * warmup**0.5


def sgdr(t, first, multiplier, floor):
    length, since = float(first), float(t)
    while since >= length - 1e-9:
        since, length = since - length, length * multiplier
    return floor + 0.5 * (1 - floor) * (1 + math.cos(math.pi * since / length))


FORMULAS = {
    "warm-up, cosine": (schedules.warmup(20, schedules.cosine(280)), lambda t: huggingface_warmup_cosine(t, 20, 300)),
    "warm-up, linear": (schedules.warmup(20, schedules.linear(180)), lambda t: huggingface_warmup_linear(t, 20, 200)),
    "polynomial, floor": (schedules.polynomial(200, 3, 0.2), lambda t: huggingface_polynomial(t, 200, 3, 0.2)),
    "cosine held": (schedules.cosine(150, 0.2, hold=True), lambda t: optax_cosine_decay(t, 150, 0.2)),
    "exponential warm-up": (
        schedules.warmup(50, schedules.constant(), 0.01, "exponential"),
        lambda t: min(1.0, optax_exponential_decay(t, 0.01, 50, 100.0)),
    ),
    "wsd, linear": (schedules.warmup_stable_decay(300, 30, 60, 0.1, "linear"), lambda t: huggingface_wsd(t, 30, 210, 60, "linear", 0.1)),
    "wsd, cosine": (schedules.warmup_stable_decay(300, 30, 60, 0.1, "cosine"), lambda t: huggingface_wsd(t, 30, 210, 60, "cosine", 0.1)),
    "wsd, root": (schedules.warmup_stable_decay(300, 30, 60), lambda t: huggingface_wsd(t, 30, 210, 60, "1-sqrt", 0.0)),
    "wsd, no warm-up": (schedules.warmup_stable_decay(300, 0, 60), lambda t: huggingface_wsd(t, 0, 240, 60, "1-sqrt", 0.0)),
    "wsd, no plateau": (schedules.warmup_stable_decay(90, 30, 60), lambda t: huggingface_wsd(t, 30, 0, 60, "1-sqrt", 0.0)),
    "wsd, decay alone": (schedules.warmup_stable_decay(60, 0, 60, kind="linear"), lambda t: huggingface_wsd(t, 0, 0, 60, "linear", 0.0)),
    "inverse time": (schedules.inverse_time(12.5), lambda t: keras_inverse_time_decay(t, 12.5)),
    "inverse root": (schedules.inverse_sqrt(40), lambda t: vaswani_2017(t, 40)),
    "inverse root, one step behind": (schedules.inverse_sqrt(40), lambda t: huggingface_inverse_sqrt(t + 1, 40)),
    "restarts, half as long again": (schedules.cosine_restarts(8, 1.5, 0.1), lambda t: sgdr(t, 8, 1.5, 0.1)),
}  # fmt: skip


@pytest.mark.parametrize("schedule, formula", FORMULAS.values(), ids=FORMULAS)
def test_the_factors_are_those_of_the_formula(schedule, formula):
    found, expected = ([f(t) for t in range(LONG)] for f in (schedule, formula))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert all(type(value) is float for value in found)


def test_a_restart_falls_on_its_step_however_late():
    """Exactly: the step before the end of a cycle is its last, and the next one has the factor 1."""
    for first, multiplier in itertools.product((1, 3, 10, 1000), (2, 3, 7)):
        schedule = schedules.cosine_restarts(first, multiplier)
        end, length = first, first
        while end < 10**9:
            assert schedule(end) == 1
            assert schedule(end - 1) == pytest.approx((1 + math.cos(math.pi * (length - 1) / length)) / 2, abs=1e-15)
            length *= multiplier
            end += length


def test_past_its_end_the_cosine_is_the_closed_form_that_torch_drifts_from():
    scheduler = torch_schedulers.CosineAnnealingLR(optimizer(lr=1.0), 100)
    recursion = rates(theirs("CosineAnnealingLR", T_max=100), 10_001, lr=1.0)[:, 0]
    schedule = schedules.cosine(100)
    drift = 0.0
    for t in range(10_001):
        scheduler.last_epoch = t
        assert schedule(t) == pytest.approx(scheduler._get_closed_form_lr()[0], abs=1e-15)
        drift = max(drift, abs(schedule(t) - recursion[t]))
        assert t > 1000 or drift < 3e-13
    assert 1e-12 < drift < 1e-11


def test_restarts_that_grow_by_a_millionth():
    """Against the lengths summed exactly."""
    multiplier = 1 + 1e-6
    schedule, end, length = schedules.cosine_restarts(2**10, multiplier), Fraction(0), Fraction(2**10)
    for _ in range(20):
        t = math.floor(end + length / 2)
        assert schedule(t) == pytest.approx((1 + math.cos(math.pi * float((t - end) / length))) / 2, abs=1e-9)
        end, length = end + length, length * Fraction(multiplier)


def test_the_sums_that_robbins_and_monro_ask_for():
    """Of the factors without bound, as the logarithm; of their squares bounded: the trigamma function at 10."""
    factors = np.array([schedules.inverse_time(10)(t) for t in range(20000)])
    assert factors.sum() == pytest.approx(10 * (math.log(20010) - math.log(10)), rel=0.01)
    assert (factors**2).sum() == pytest.approx(100 * 0.1051663, rel=0.01)


# Inside torch, the lab and a pickle


def test_several_groups_copies_and_our_optimizers():
    schedule = schedules.warmup(5, schedules.cosine(40))
    for factory in (torch.optim.SGD, dlopt.SGD):
        found = rates(ours(schedule), 60, groups=2, factory=factory)
        factors = np.array([schedule(t) for t in range(60)])
        np.testing.assert_allclose(found, np.outer(factors, [LR, LR / 2]), rtol=1e-15)
    opt = optimizer(groups=2)
    torch_schedulers.LambdaLR(opt, [schedule, schedules.constant(0.5)])
    assert [group["lr"] for group in opt.param_groups] == [0.0, LR / 4]
    scheduler = copy.deepcopy(torch_schedulers.LambdaLR(optimizer(), schedule))
    assert scheduler.lr_lambdas[0] == schedule


def test_a_checkpoint_holds_the_step_and_the_code_decides_the_schedule():
    before, after = schedules.cosine(10), schedules.cosine(20)
    saved = torch_schedulers.LambdaLR(optimizer(), before).state_dict()
    assert saved["lr_lambdas"] == [{}]
    resumed = torch_schedulers.LambdaLR(optimizer(), after)
    resumed.load_state_dict(saved)
    assert resumed.lr_lambdas == [after] and after == schedules.cosine(20) and not vars(after)


def test_a_schedule_trains_in_the_lab_from_the_cache_and_not(tmp_path, monkeypatch):
    monkeypatch.setenv("DLOPT_CACHE", str(tmp_path))
    task = lab.tasks.least_squares()
    kw = dict(settings=[{"lr": 0.1}], seeds=[0], steps=20, progress=False)
    runs = [lab.run(task, {"sgd": dlopt.SGD}, schedule=schedules.cosine(n), **kw) for n in (20, 5, 20)]
    assert runs[0]["val_loss"].tolist() == runs[2]["val_loss"].tolist() != runs[1]["val_loss"].tolist()


EVERY = {name: schedule for name, (schedule, _) in (CASES | FORMULAS).items()}


def test_equal_by_content_and_different_otherwise():
    for schedule in EVERY.values():
        for twin in (pickle.loads(pickle.dumps(schedule)), copy.copy(schedule), copy.deepcopy(schedule)):
            assert twin == schedule and hash(twin) == hash(schedule) and repr(twin) == repr(schedule)
            assert fingerprint(twin) == fingerprint(schedule)
    assert schedules.cosine(10) == schedules.cosine(steps=10, floor=0)
    assert len({repr(schedule) for schedule in EVERY.values()}) == len(set(EVERY.values())) == len(
        {fingerprint(schedule) for schedule in EVERY.values()}
    )  # fmt: skip


@pytest.mark.parametrize("schedule", EVERY.values(), ids=EVERY)
def test_what_a_schedule_prints_makes_it_again(schedule):
    assert eval(repr(schedule), {name: getattr(schedules, name) for name in schedules.__all__}) == schedule


def test_a_composition_reads_as_it_was_made():
    schedule = schedules.warmup(10, schedules.cosine(90, floor=0.1), start=0.1) * schedules.constant(0.5)
    made = eval(repr(schedule), {name: getattr(schedules, name) for name in schedules.__all__})
    assert made == schedule
    assert schedule.function is None and schedule.parts[0].hyper == {"milestones": [10]}
    assert (
        schedules.cosine(5).hyper == {"steps": 5, "floor": 0.0} and schedules.cosine(5).function.__name__ == "_cosine"
    )


def test_nothing_of_it_can_be_changed():
    for schedule in (schedules.cosine(10), schedules.multi_step([3])):
        for name in ("function", "parts", "steps"):
            with pytest.raises(AttributeError):
                setattr(schedule, name, 3)


def shark(t, *, period):
    scale = 1 - t / period + xp.floor(t / period)
    return scale


def fish(t, *, period):
    scale = 1 - t / period + xp.floor(t / period) ** 2
    return scale


def test_a_formula_of_ones_own():
    teeth = schedules.Formula(shark, period=4)
    assert [teeth(t) for t in range(5)] == [1.0, 0.75, 0.5, 0.25, 1.0]
    assert (teeth * schedules.constant(0.5))(5) == 0.375
    assert fingerprint(teeth) != fingerprint(schedules.Formula(fish, period=4))


def test_a_call_costs_no_more_than_a_thousand_cosines():
    def thousand():
        t = 0.0
        for _ in range(1000):
            t = math.cos(t)

    def least(call):
        return min(timeit.repeat(call, timer=time.process_time, number=200, repeat=10))

    for schedule in (schedules.cosine(100), schedules.one_cycle(100), schedules.warmup_stable_decay(100, 10, 20)):
        assert least(lambda s=schedule: s(95)) < least(thousand)


# Bad input


def not_of_t(x, *, period):
    return x / period


def two_values(t, *, period):
    a = t / period
    return a, a


NAN, INF = float("nan"), float("inf")
REFUSED = [
    *((make, (bad, *rest)) for make, rest in [
        (schedules.linear, ()), (schedules.cosine, ()), (schedules.polynomial, ()), (schedules.step, ()),
        (schedules.cosine_restarts, ()), (schedules.one_cycle, ()), (schedules.inverse_sqrt, ()),
        (schedules.warmup, (schedules.constant(),)), (schedules.warmup_stable_decay, (0, 1)),
        (lambda n: schedules.constant(1, n), ()),
    ] for bad in (0, -1, 2.5, NAN, "3", True)),
    *((make, (*first, bad)) for make, first in [
        (schedules.constant, ()), (schedules.step, (3,)), (schedules.multi_step, ([3],)), (schedules.exponential, ()),
        (schedules.linear, (3,)), (schedules.linear, (3, 1)), (schedules.polynomial, (3,)), (schedules.cosine, (3,)),
        (schedules.polynomial, (3, 1)), (schedules.cosine_restarts, (3,)), (schedules.cosine_restarts, (3, 2)),
        (schedules.inverse_time, ()), (schedules.inverse_time, (3,)), (schedules.one_cycle, (9,)),
        (schedules.one_cycle, (9, 0.3, "cos")), (schedules.one_cycle, (9, 0.3, "cos", 25.0)),
        (schedules.one_cycle_momentum, (9, 0.3, "cos")), (schedules.warmup, (3, schedules.constant())),
        (schedules.warmup_stable_decay, (9, 2, 3)),
    ] for bad in (-0.1, NAN, INF, "x", None)),
    (schedules.inverse_time, (0,)), (schedules.cosine_restarts, (3, 0.5)), (schedules.cosine_restarts, (3, 1 + 1e-9)),
    (schedules.multi_step, ([1, 2], 1e200)), (schedules.multi_step, ([1, 2], 10**200)), (schedules.multi_step, ([1, 2], np.float64(1e200))),
    (schedules.one_cycle, (9, 1.1)),
    (schedules.one_cycle, (9, 0.3, "sin")), (schedules.one_cycle, (9, 0.3, "cos", 0)), (schedules.one_cycle, (10, 0.1)),
    (schedules.multi_step, ([],)), (schedules.multi_step, ([5, 3],)), (schedules.multi_step, ([3, 3],)),
    (schedules.multi_step, ([0, 3],)), (schedules.multi_step, ([2.5],)), (schedules.multi_step, (3,)),
    (schedules.sequential, ([schedules.constant()], [])), (schedules.sequential, ([schedules.constant()] * 2, [3, 5])),
    (schedules.sequential, ([schedules.constant(), abs], [3])), (schedules.sequential, ([schedules.constant()] * 3, [5, 3])),
    (schedules.warmup, (3, math.cos)), (schedules.warmup, (3, schedules.constant(), 0.0, "exponential")),
    (schedules.warmup, (3, schedules.constant(), 0.1, "quick")), (schedules.warmup_stable_decay, (9, 5, 5)),
    (schedules.warmup_stable_decay, (9, 2, 3, 0.0, "square")), (schedules.warmup_stable_decay, (9, -1, 3)),
    (schedules.warmup_stable_decay, (9, 2, 0)), (schedules.Formula, (not_of_t,)), (schedules.Formula, (shark,)),
    (lambda: schedules.Formula(two_values, period=3), ()), (lambda: schedules.Formula(shark, period=NAN), ()),
    (lambda: schedules.cosine(3) * 2, ()), (lambda: schedules.cosine(3) * math.cos, ()), (schedules.cosine(3), (-1,)),
    (schedules.cosine(3), (NAN,)), (schedules.cosine(3), (INF,)), (schedules.cosine(3), ("1",)),
]  # fmt: skip


@pytest.mark.parametrize("make, arguments", REFUSED)
def test_bad_input_is_refused_with_the_reason(make, arguments):
    with pytest.raises(
        ValueError,
        match="Invalid|Expected|expects|must be|instead got|no schedule|cannot start|no step|more than|takes|returns",
    ):
        make(*arguments)


def test_a_formula_outside_the_grammar_is_refused_by_line():
    def loop(t, *, k):
        while t > k:
            t = t - k
        return t

    with pytest.raises(GrammarError):
        schedules.Formula(loop, k=3)
    with pytest.raises(TypeError):
        schedules.Schedule()(3)
