"""From a trained model to a bundle: ONNX graphs, manifest, parity cases."""

from forerun_models.export.export import Provenance, export_bundle

__all__ = ["Provenance", "export_bundle"]
