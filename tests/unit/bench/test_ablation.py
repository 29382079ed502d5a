"""The ablation of the double pendulum's recipe."""

from __future__ import annotations

import pytest

from forerun.bench.ablation import SHORTENED, VARIANTS
from forerun.bench.recipes import changed, merged


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_a_recipe(name: str) -> None:
    recipe = changed("double_pendulum", merged(SHORTENED, VARIANTS[name]))
    assert recipe.model.kind == "rigid_body" and recipe.model.members == 2
    assert sum(phase.epochs for phase in recipe.training.phases) == 13
