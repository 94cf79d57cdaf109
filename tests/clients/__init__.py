"""Real clients from npm against the real worker: `make test-clients`."""
