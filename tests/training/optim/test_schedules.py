"""The learning rate over the steps, against the formulas of each schedule."""

import math

import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR
from transformers import get_scheduler

from tunesmith.sections import TrainingSection
from tunesmith.training.optim.schedules import make_schedule

WARMUP, STEPS, RATE = 10, 100, 1e-3


def optimizer(*rates):
    groups = [{"params": [torch.nn.Parameter(torch.zeros(2))], "lr": rate} for rate in rates or [RATE]]
    return torch.optim.AdamW(groups, lr=RATE)


def over_the_steps(made, scheduler, group=0):
    found = []
    for _ in range(STEPS):
        found.append(made.param_groups[group]["lr"])
        made.step()
        scheduler.step()
    return found


def rates(warmup=WARMUP, **keys):
    made = optimizer()
    return over_the_steps(made, make_schedule(TrainingSection(learning_rate=RATE, **keys), made, warmup, STEPS))


def of_transformers(name, **arguments):
    made = optimizer()
    return over_the_steps(made, get_scheduler(name, made, WARMUP, STEPS, arguments))


def cosine(step, *, low=0.0, end=STEPS, power=1):
    if step < WARMUP:
        return RATE * (step / WARMUP) ** power
    done = min(1.0, (step - WARMUP) / (end - WARMUP))
    return RATE * (low + (1 - low) * (1 + math.cos(math.pi * done)) / 2)


def rex(step, low=0.0):
    done = step + 1
    if done <= WARMUP:
        return RATE * done / WARMUP
    left = (STEPS - done) / (STEPS - WARMUP)
    return RATE * (low + (1 - low) * left / (0.1 + 0.9 * left))


def jagged(step):
    place = step % 25
    share = 1.0 if step < 22 or 5 <= place <= 22 else place / 5 if place < 5 else (25 - place) / 3
    return cosine(step) * (0.001 + 0.999 * share)


@pytest.mark.parametrize(
    ("keys", "formula"),
    [
        ({}, cosine),
        ({"cosine_min_lr_ratio": 0.2}, lambda step: cosine(step, low=0.2)),
        ({"lr_scheduler_kwargs": {"min_lr": RATE / 5}}, lambda step: cosine(step, low=0.2)),
        ({"lr_quadratic_warmup": True}, lambda step: cosine(step, power=2)),
        (
            {"cosine_min_lr_ratio": 0.2, "cosine_constant_lr_ratio": 0.6},
            lambda step: cosine(step, low=0.2, end=60),
        ),
        ({"cosine_min_lr_ratio": 0.2, "cosine_constant_lr_ratio": 0}, lambda step: cosine(step, low=0.2)),
        (
            {"cosine_min_lr_ratio": 0.2, "lr_quadratic_warmup": True},
            lambda step: cosine(step, low=0.2, power=2),
        ),
        ({"lr_scheduler": "rex"}, rex),
        ({"lr_scheduler": "rex", "cosine_min_lr_ratio": 0.1}, lambda step: rex(step, 0.1)),
        (
            {"jagged_restart_steps": 25, "jagged_restart_warmup_steps": 5, "jagged_restart_anneal_steps": 3},
            jagged,
        ),
    ],
)
def test_a_schedule_follows_its_formula(keys, formula):
    assert rates(**keys) == pytest.approx([formula(step) for step in range(STEPS)], abs=1e-12)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("linear", {}),
        ("constant_with_warmup", {}),
        ("cosine_with_restarts", {"num_cycles": 3}),
        ("polynomial", {"power": 2}),
        ("inverse_sqrt", {"timescale": 20}),
        ("warmup_stable_decay", {"num_decay_steps": 30}),
        ("cosine_warmup_with_min_lr", {"min_lr_rate": 0.1, "warmup_lr_rate": 0.5}),
    ],
)
def test_schedules_of_transformers_are_its_own(name, arguments):
    assert rates(lr_scheduler=name, lr_scheduler_kwargs=arguments) == of_transformers(name, **arguments)
    assert len(set(rates(lr_scheduler=name, lr_scheduler_kwargs=arguments))) > 5


@pytest.mark.parametrize(("keys", "divided"), [({}, 25), ({"lr_div_factor": 5}, 5)])
def test_one_cycle_is_that_of_torch(keys, divided):
    made = optimizer()
    expected = OneCycleLR(made, RATE, total_steps=STEPS, pct_start=WARMUP / STEPS, div_factor=divided)
    found = rates(lr_scheduler="one_cycle", **keys)
    assert found == over_the_steps(made, expected)
    assert found[0] == pytest.approx(RATE / divided)
    assert max(found) == pytest.approx(RATE)


def test_one_cycle_without_warmup_only_falls():
    found = rates(warmup=0, lr_scheduler="one_cycle")
    assert found == sorted(found, reverse=True)


def test_one_cycle_rises_over_one_step_too():
    found = rates(warmup=1, lr_scheduler="one_cycle")
    assert found[0] == pytest.approx(RATE / 25)
    assert found[1] == pytest.approx(RATE, rel=0.01)
    made = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=RATE)
    make_schedule(TrainingSection(learning_rate=RATE, lr_scheduler="one_cycle"), made, 1, 1)


def test_one_cycle_takes_an_optimizer_without_momentum():
    made = torch.optim.Adagrad([torch.nn.Parameter(torch.zeros(2))], lr=RATE)
    make_schedule(TrainingSection(learning_rate=RATE, lr_scheduler="one_cycle"), made, WARMUP, STEPS)


@pytest.mark.parametrize(
    "keys", [{}, {"lr_scheduler": "rex"}, {"lr_scheduler": "one_cycle"}, {"jagged_restart_steps": 20}]
)
def test_groups_keep_the_ratio_of_their_learning_rates(keys):
    made = optimizer(RATE, RATE * 16)
    scheduler = make_schedule(TrainingSection(learning_rate=RATE, **keys), made, WARMUP, STEPS)
    for _ in range(40):
        made.step()
        scheduler.step()
        low, high = (group["lr"] for group in made.param_groups)
        assert high == pytest.approx(low * 16)


@pytest.mark.parametrize("keys", [{"lr_scheduler": "rex"}, {"lr_quadratic_warmup": True}, {"jagged_restart_steps": 20}])
def test_a_schedule_goes_on_from_its_saved_state(keys):
    section = TrainingSection(learning_rate=RATE, **keys)
    whole, halves = optimizer(), optimizer()
    first = make_schedule(section, halves, WARMUP, STEPS)
    for _ in range(37):
        halves.step()
        first.step()
    again = optimizer()
    second = make_schedule(section, again, WARMUP, STEPS)
    second.load_state_dict(first.state_dict())
    again.load_state_dict(halves.state_dict())
    expected = over_the_steps(whole, make_schedule(section, whole, WARMUP, STEPS))
    assert [again.param_groups[0]["lr"]] == expected[37:38]
    again.step()
    second.step()
    assert [again.param_groups[0]["lr"]] == expected[38:39]
