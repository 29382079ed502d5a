"""Planners: torch modules whose forward pass is one whole decision, so that it exports to one ONNX graph."""
