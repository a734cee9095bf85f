"""The ONNX file, which runs wherever onnxruntime does."""
