"""The ablation of the double pendulum's recipe."""

from __future__ import annotations

import pytest

from forerun.bench.ablation import SHORTENED, VARIANTS, merged, networks, without


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_a_recipe(name: str) -> None:
    recipe = without(merged(SHORTENED, VARIANTS[name]))
    assert recipe.model.kind == "rigid_body" and recipe.model.members == 2
    assert sum(phase.epochs for phase in recipe.training.phases) == 13


def test_what_knows_no_physics_is_an_ensemble_of_networks() -> None:
    assert networks().model.kind == "ensemble"
