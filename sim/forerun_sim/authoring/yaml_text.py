"""Pieces of YAML as a person would write them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

_WORDS = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")
"""What YAML takes for something else than text."""


def text(value: str) -> str:
    """``value`` in YAML: plain where that is safe, else quoted."""
    plain = re.fullmatch(r"[A-Za-z][\w./-]*", value) and value.lower() not in _WORDS
    return value if plain else json.dumps(value)


def mapping(values: Mapping[str, float]) -> str:
    """Numbers by name, on one line; 0 for none."""
    return "{ " + ", ".join(f"{text(name)}: {value:g}" for name, value in values.items()) + " }" if values else "0.0"
