"""The ablation of the double pendulum's recipe."""

from __future__ import annotations

import pytest

from forerun.bench.ablation import VARIANTS, without


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_a_recipe(name: str) -> None:
    assert without(VARIANTS[name]).model.kind == "rigid_body"
