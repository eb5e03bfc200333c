import math

import pytest
import torch

from dlopt.lab.tasks import digits_mlp, least_squares
from dlopt.lab.training import Job, is_better, train


def job(factory=torch.optim.SGD, setting=None, **changes):
    options = dict(task=least_squares(), seed=0, steps=10, batch_size=16, every=4)
    return Job(factory=factory, setting=setting or {"lr": 0.1}, **(options | changes))


def by_hand(task, lr, steps, batch_size, seed=0, factor=lambda step: 1.0):
    model, stream, losses = task.model(seed), task.batches(seed, batch_size), []
    for step in range(steps):
        loss = task.loss(model, next(stream))
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for p, g in zip(model.parameters(), gradients, strict=True):
                p -= lr * factor(step) * g
        losses.append(loss.item())
    return losses, task.evaluate(model)


def test_records_are_those_of_a_loop_by_hand():
    found = train(job())
    losses, metrics = by_hand(least_squares(), 0.1, 10, 16)
    assert found["step"] == [0, 4, 8, 10]
    assert found["train_loss"] == pytest.approx([losses[0], sum(losses[:4]) / 4, sum(losses[4:8]) / 4,
                                                 sum(losses[8:]) / 2], rel=1e-6)  # fmt: skip
    assert found["val_loss"][-1] == pytest.approx(metrics["val_loss"], rel=1e-6)
    assert found["gradients"] == found["step"]
    assert found["seconds"] == sorted(found["seconds"])
    assert found["diverged"] == [0, 0, 0, 0]


def test_schedule_scales_the_learning_rate():
    def factor(step):
        return 1 / (1 + step)

    found = train(job(schedule=factor))
    _, metrics = by_hand(least_squares(), 0.1, 10, 16, factor=factor)
    assert found["val_loss"][-1] == pytest.approx(metrics["val_loss"], rel=1e-5)
    assert found["val_loss"] != train(job())["val_loss"]


def test_gradients_of_a_line_search_are_counted():
    found = train(job(torch.optim.LBFGS, {"lr": 1.0, "max_iter": 5}, batch_size=264, steps=2, every=1))
    assert found["gradients"][-1] > 4
    assert found["val_loss"][-1] < 0.4


def test_divergence_is_kept_to_the_last_record():
    found = train(job(setting={"lr": 1e4}, task=digits_mlp(), steps=40, every=3))
    steps, losses = found["step"], found["val_loss"]
    assert steps == [0, *range(3, 40, 3), 40]
    assert math.isfinite(losses[0])
    assert losses[-1] == math.inf
    first = found["diverged"].index(1)
    assert found["diverged"] == [0] * first + [1] * (len(steps) - first)
    assert set(losses[first:]) == {math.inf} == set(found["train_loss"][first:])
    assert set(found["val_accuracy"][first:]) == {0.0}
    assert found["gradients"][-1] < 40  # it was stopped


@pytest.mark.parametrize("steps", [10, 12, 13])
def test_a_run_that_diverges_between_records_keeps_the_steps_of_the_others(steps):
    class Breaks(torch.optim.SGD):
        def step(self, closure=None):
            loss = super().step(closure)
            if self.param_groups[0]["momentum"] == 0:  # poison the weights in step 6
                self.count = getattr(self, "count", 0) + 1
                if self.count == 6:
                    with torch.no_grad():
                        self.param_groups[0]["params"][0].fill_(math.nan)
            return loss

    found, healthy = train(job(Breaks, steps=steps)), train(job(steps=steps))
    assert found["step"] == healthy["step"]
    assert found["diverged"] == [step > 4 for step in healthy["step"]]
    assert found["gradients"][-1] == 7
    assert not any(math.isnan(value) for column in found.values() for value in column)


def test_weights_that_break_in_the_last_step_count_as_diverged():
    class Breaks(torch.optim.SGD):
        @torch.no_grad()
        def step(self, closure=None):
            loss = super().step(closure)
            self.count = getattr(self, "count", 0) + 1
            if self.count == 10:
                self.param_groups[0]["params"][0].fill_(math.nan)
            return loss

    found = train(job(Breaks))
    assert found["diverged"] == [0, 0, 0, 1]
    assert found["val_loss"][-1] == found["train_loss"][-1] == math.inf


def test_reaching_a_value_exactly_counts():
    assert is_better("val_accuracy", 0.5, than=0.5)
    assert is_better("val_loss", 0.5, than=0.5)


def test_target_stops_the_run():
    found = train(job(steps=200, every=5, target=("val_loss", 0.35)))
    assert found["val_loss"][-1] <= 0.35 < min(found["val_loss"][:-1])
    assert found["step"][-1] < 200
    larger = train(job(task=digits_mlp(), steps=300, every=5, target=("val_accuracy", 0.8)))
    assert larger["val_accuracy"][-1] >= 0.8 > max(larger["val_accuracy"][:-1])


def test_one_thread_and_the_global_generator_untouched():
    torch.set_num_threads(2)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    train(job())
    assert torch.get_num_threads() == 1
    assert torch.equal(before, torch.get_rng_state())


def test_methods_that_draw_random_numbers_repeat():
    class Noisy(torch.optim.SGD):
        @torch.no_grad()
        def step(self, closure=None):
            loss = super().step(closure)
            for p in self.param_groups[0]["params"]:
                p += 0.01 * torch.randn_like(p)
            return loss

    torch.manual_seed(1)
    first = train(job(Noisy))
    torch.manual_seed(2)
    again = train(job(Noisy))
    assert first["val_loss"] == again["val_loss"]
    assert first["val_loss"] != train(job())["val_loss"]
