"""What a user has besides effc to run the same ONNX file with, measured in the same way."""
