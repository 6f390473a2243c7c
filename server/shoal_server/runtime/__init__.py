"""ONNX Runtime, and what it takes to run models with it; the only package that imports onnxruntime."""

from shoal_server.runtime.cpu import available_cpus
from shoal_server.runtime.loader import OrtLoader

__all__ = ["OrtLoader", "available_cpus"]
