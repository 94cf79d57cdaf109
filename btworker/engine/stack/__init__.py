"""What the engine stands on: surroundings.py looks at versions, packages and the GPU (gpu_probe.py) before anything is
loaded; faults.py knows what the stack's errors mean."""
