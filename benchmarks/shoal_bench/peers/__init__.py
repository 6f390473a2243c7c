"""The servers that Shoal is measured against: what each needs to serve an ONNX model in its own environment."""
