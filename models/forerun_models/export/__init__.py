"""From a trained model to a bundle: ONNX graphs, manifest, parity cases."""

from forerun_models.export.export import NETWORKS, Provenance, export_bundle

__all__ = ["NETWORKS", "Provenance", "export_bundle"]
