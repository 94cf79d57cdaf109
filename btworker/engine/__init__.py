"""Speech: everything that imports torch. Runs in the children only, loaded by name (see WorkerSpec.engine)."""
