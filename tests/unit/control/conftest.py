"""Bundles and controllers for the tests of the control core."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from forerun.control.limits import SafetySettings
from forerun.control.planning import Planner
from forerun_models.bundle import Bundle, load
from support.bench import Bench
from support.tiny_bundle import Body, Law, Model, tiny_bundle


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Bundle]:
    """``make_bundle(law, model=..., **overrides)`` writes, loads and returns a tiny bundle."""

    def make(law: Law | None = None, model: Model | None = None, **overrides: Any) -> Bundle:
        names = {key: overrides.pop(key) for key in ("robot", "joints", "actions") if key in overrides}
        body = Body(**names, overrides=overrides)
        return load(tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny", law, body, model))

    return make


@pytest.fixture
def bench(make_bundle: Callable[..., Bundle]) -> Callable[..., Bench]:
    """``bench(law, safety=..., **overrides)``."""

    def make(
        law: Law | None = None, *, safety: SafetySettings | None = None, planner: Planner | None = None, **overrides: Any
    ) -> Bench:
        return Bench(make_bundle(law, **overrides), safety, planner)

    return make
