"""ONNX Runtime sessions with the options that bundles have."""

from __future__ import annotations

import onnxruntime

from forerun_models.bundle import bundle


def session(content: bytes, threads: int) -> onnxruntime.InferenceSession:
    """A session of the ONNX file ``content``, as the controller makes it of a bundle's graphs."""
    return bundle._session(content, "act.onnx", threads)
