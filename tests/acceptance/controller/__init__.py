"""The worker under a controller of our own, written from the contract alone."""
