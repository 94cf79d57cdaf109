"""btworker: a self-hosted transcription worker for GPU boxes. ARCHITECTURE.md has the map."""

__version__ = "0.2.0"
