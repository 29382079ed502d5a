"""What the controller runs: a folder with two ONNX graphs and a manifest. Imports numpy and onnxruntime, nothing heavier."""

from forerun_models.bundle.bundle import Bundle, Carry, Decision, load
from forerun_models.bundle.calibration import Calibration
from forerun_models.bundle.errors import BundleError
from forerun_models.bundle.forecast import Forecast, unroll
from forerun_models.bundle.ground import Ground
from forerun_models.bundle.manifest import CAUSES, FORMAT, Manifest
from forerun_models.bundle.parity import ParityCase
from forerun_models.bundle.writing import write

__all__ = [
    "CAUSES",
    "FORMAT",
    "Bundle",
    "BundleError",
    "Calibration",
    "Carry",
    "Decision",
    "Forecast",
    "Ground",
    "Manifest",
    "ParityCase",
    "load",
    "unroll",
    "write",
]
