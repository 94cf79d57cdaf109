"""Tests with OpenAI's own weights and people's voices, and of what brings those here."""
