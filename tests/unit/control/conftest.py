"""Bundles and controllers for the tests of the control core."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from forerun_models.bundle import Bundle, load
from support.tiny_bundle import Body, Law, tiny_bundle

Make = Callable[..., Bundle]


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """``make_bundle(law, **overrides)`` is a loaded tiny bundle; equal arguments give the same one."""

    def make(law: Law | None = None, **overrides: Any) -> Bundle:
        body = Body(
            joints=overrides.pop("joints", Body.joints), actions=overrides.pop("actions", Body.actions), overrides=overrides
        )
        return load(tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny", law, body))

    return make
