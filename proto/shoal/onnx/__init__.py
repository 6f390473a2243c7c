"""The few parts of an ONNX model file that Shoal reads and edits."""
