"""Advice comes where it is due, names the setting, and is silent where all is well."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from gymnasium.spaces import Box

from forerun_models.agents.advice import (
    imagined_dominates,
    no_time_limit,
    no_value,
    one_model,
    rollouts_too_long,
    stale_model,
    told,
)
from forerun_models.agents.base import EnvSpec, Step
from forerun_models.agents.dyna_q import DynaQ, DynaSettings


def test_long_rollouts_in_a_wrong_model_are_told_with_a_length_that_would_do() -> None:
    text = rollouts_too_long(20, 0.25, "length.end")
    assert text is not None and "rollouts of 20 steps" in text and "lower length.end to 8" in text
    assert rollouts_too_long(8, 0.25, "length.end") is None
    assert rollouts_too_long(1, 9.0, "length.end") is None, "no rollout is shorter"
    assert rollouts_too_long(20, math.nan, "length.end") is None, "before there is a model"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (one_model(1, "model.members"), "one model only.*model.members to 5"),
        (no_value(10, 200, False, "planner.horizon"), "10 steps ahead in episodes of 200.*raise planner.horizon"),
        (stale_model(3.0, 1.0, "fit_every"), "stale.*3.0 times.*fit_every"),
        (no_time_limit(None), "no time limit.*max_episode_steps"),
        (imagined_dominates(0.05, 0.8, "real_ratio"), "95% of what is learned from.*0.80.*real_ratio"),
    ],
)
def test_each_fault_is_told_with_its_remedy(text: str | None, words: str) -> None:
    assert text is not None
    assert np.all([word in text for word in words.split(".*")])


@pytest.mark.parametrize(
    "silent",
    [
        one_model(5, "k"),
        no_time_limit(200),
        no_value(10, 200, True, "k"),
        no_value(60, 1000, False, "k"),
        no_value(10, 40, False, "k"),
        no_value(10, None, False, "k"),
        stale_model(1.9, 1.0, "k"),
        stale_model(1.0, 0.0, "k"),
        stale_model(math.nan, 1.0, "k"),
        imagined_dominates(0.9, 0.8, "k"),
        imagined_dominates(0.05, 0.1, "k"),
        imagined_dominates(0.05, math.nan, "k"),
    ],
)
def test_nothing_is_told_where_all_is_well(silent: str | None) -> None:
    assert silent is None
    assert told(silent, "this", None) == ["this"]


def test_a_table_whose_cells_lead_to_many_is_told_to_remember_more() -> None:
    def agent(outcomes: int) -> DynaQ:
        spec = EnvSpec("noise", Box(0, 1, (1,)), 1)
        made = DynaQ(spec, DynaSettings(bins=4, outcomes=outcomes, planning=2, levels=1), 0)
        generator = np.random.default_rng(0)
        seen = generator.random((600, 1)).astype(np.float32)
        for before, after in itertools.pairwise(seen):
            made.observe(Step(before, np.zeros(1, np.float32), 0.0, after, False, False))
            made.update()
        return made

    (text,) = agent(1).advice()
    assert "did not foresee" in text and "outcomes" in text
    assert agent(20).advice() == []
