"""Tests that run the real engine: torch, whisper, ffmpeg and the embedded model."""
