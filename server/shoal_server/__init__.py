"""The Shoal server: ONNX models over gRPC, batched across callers."""
