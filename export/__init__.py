"""From a checkpoint to a bundle: fold, write as ONNX, prove that nothing changed, pack."""
