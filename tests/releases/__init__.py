"""Data folders as earlier releases left them, and what every later one makes of them.

`python -m tests.releases` makes one of this release (__main__.py); it is kept in tests/data/releases for ever.
"""
