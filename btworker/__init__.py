"""btworker: a self-hosted transcription worker for GPU boxes. ARCHITECTURE.md has the map."""

__version__ = "0.1.0"
