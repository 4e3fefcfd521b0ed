"""What a device needs to run converted files: no TensorFlow, Larq or Larq Compute Engine."""
