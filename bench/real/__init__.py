"""Real speech through real weights: `make real`. __main__.py is the way in, report.py has the table."""
