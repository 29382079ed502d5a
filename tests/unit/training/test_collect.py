"""The live stream gives the trials that a bag of it gives."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.support.stream import EPOCH, NAMES, SPEC, Message, as_bag, recording

from forerun.bags import load_trials
from forerun.bags.cut import SETTLE
from forerun.control.states import StateRefused
from forerun.training.collect import Collector, Rows
from forerun_sim.errors import InputError


def live(messages: list[Message], every: float) -> list[list[Rows]]:
    """The trials, each as its parts, where rows are taken ``every`` so many seconds."""
    collector, parts, due = Collector(SPEC), [], messages[0].received
    for message in messages:
        if message.kind == "state":
            collector.add_state(message.received, message.stamp, NAMES, *message.values)
        elif message.kind == "command":
            collector.add_command(message.received, message.values)
        else:
            collector.add_trial(message.received, json.dumps(message.values))
        if message.received >= due:
            parts += collector.take(message.received)
            due = message.received + round(every * 1e9)
    parts += collector.take(all=True)
    assert collector.take(all=True) == []
    trials: list[list[Rows]] = []
    for part in parts:
        if part.begins:
            trials.append([])
        trials[-1].append(part)
    assert all([part.ends for part in trial] == [False] * (len(trial) - 1) + [True] for trial in trials)
    return trials


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("offset", [0, 3_600 * 10**9])
def test_the_live_stream_gives_the_trials_that_its_bag_gives(tmp_path: Path, seed: int, offset: int) -> None:
    messages = recording(np.random.default_rng(seed), offset=offset)
    expected = load_trials(as_bag(tmp_path / "bag", messages), SPEC, note=lambda text: None)
    trials = live(messages, every=(0.02, 0.1, 0.35, 5.0)[seed])
    assert len(trials) == len(expected) == 3
    for parts, trial in zip(trials, expected, strict=True):
        states, actions = (np.concatenate([getattr(part, name) for part in parts]) for name in ("states", "actions"))
        assert states.shape == trial.states.shape
        np.testing.assert_allclose(states, trial.states, rtol=1e-6, atol=1e-6)
        # Receive times on another clock are carried over along their neighbours, of which the live stream knows fewer.
        np.testing.assert_allclose(actions, trial.actions, atol=1e-6)
        assert parts[0].start == pytest.approx(trial.start, abs=1e-6)
        assert parts[0].data.get("id") == trial.meta.get("id")


@pytest.mark.parametrize("every", [0.02, 0.1, 1.0])
def test_what_two_publishers_contradict_each_other_about_is_learned_by_nobody(tmp_path: Path, every: float) -> None:
    messages = recording(np.random.default_rng(5))
    begin = messages[0].received
    # From 1.5 to 2.5 s on somebody else says that the cart stands elsewhere; at 3.2 s the sensor is wrong once.
    second = [
        replace(message, received=message.received + 10**6, values=([message.values[0][0], 5.0], message.values[1]))
        for message in messages
        if message.kind == "state" and 1.5 <= (message.received - begin) * 1e-9 <= 2.5
    ]
    spoilt = next(i for i, m in enumerate(messages) if m.kind == "state" and m.received > begin + 3.2e9)
    messages[spoilt] = replace(messages[spoilt], values=([2.0, -9.0], messages[spoilt].values[1]))
    messages = sorted([*messages, *second], key=lambda message: message.received)
    notes: list[str] = []
    expected = load_trials(as_bag(tmp_path / "bag", messages), SPEC, note=notes.append)
    assert [round(SPEC.control.period * len(trial.states), 1) for trial in expected] == pytest.approx(
        [1.5, 0.7, 0.8, 3, 2.5], abs=0.11
    )
    assert all(np.abs(trial.states[:, 0]).max() < 1.5 for trial in expected)
    assert any("jumps split trials" in text and "'slider' jumped" in text for text in notes)
    trials = live(messages, every=every)
    assert [sum(len(part.states) for part in parts) for parts in trials] == [len(trial.states) for trial in expected]
    for parts, trial in zip(trials, expected, strict=True):
        np.testing.assert_allclose(np.concatenate([part.states for part in parts]), trial.states, rtol=1e-6, atol=1e-6)


def test_memory_is_bounded_and_nothing_is_kept_longer_than_it_settles() -> None:
    collector, rows = Collector(SPEC), 0
    for number in range(20_000):
        stamp = EPOCH + number * 10**7
        collector.add_state(stamp, stamp, NAMES, [0.0, 0.0], [0.0, 0.0])
        collector.add_command(stamp + 10**6, [1.0])
        if number % 10 == 0:
            rows += sum(len(part.states) for part in collector.take(stamp))
            assert collector.waiting <= 2 * (SETTLE + 0.2) / 0.01
    assert rows == pytest.approx(200 * SPEC.control.rate, abs=(SETTLE + 0.1) * SPEC.control.rate + 1)


def test_states_without_commands_are_not_kept() -> None:
    collector = Collector(SPEC)
    for number in range(5_000):
        stamp = EPOCH + number * 10**7
        collector.add_state(stamp, stamp, NAMES, [0.0, 0.0], [0.0, 0.0])
        if number % 50 == 0:
            assert collector.take(stamp) == []
    assert collector.waiting < 200


def test_a_clock_that_jumps_back_unannounced_ends_the_trial_and_another_begins() -> None:
    collector, parts = Collector(SPEC), []
    for start in (10, 0):
        for number in range(300):
            received = EPOCH + (10 - start) * 10**9 + number * 10**7
            collector.add_state(received, start * 10**9 + number * 10**7, NAMES, [0.0, 0.0], [0.0, 0.0])
            collector.add_command(received, [1.0])
            parts += collector.take(received) if number % 10 == 0 else []
    parts += collector.take(all=True)
    assert [part.start < 10 for part in parts if part.begins] == [False, True]
    assert sum(part.ends for part in parts) == 2
    assert "goes backwards" in collector.notes[0]


def test_silence_ends_a_trial_and_what_is_no_state_or_command_is_refused() -> None:
    collector = Collector(SPEC)
    for number in range(100):
        stamp = EPOCH + number * 10**7
        collector.add_state(stamp, stamp, NAMES, [0.0, 0.0], [0.0, 0.0])
        collector.add_command(stamp, [1.0])
    parts = collector.take(stamp)
    assert [(part.begins, part.ends) for part in parts] == [(True, False)]
    assert [part.ends for _ in range(4) for part in collector.take(stamp + 3 * 10**9)] == [True]
    with pytest.raises(StateRefused, match="no joint 'slider'"):
        collector.add_state(stamp, stamp, ["hinge"], [0.0], [0.0])
    with pytest.raises(InputError, match="takes a finite number for each of: slider"):
        collector.add_command(stamp, [float("nan")])
