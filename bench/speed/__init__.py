"""The parts of bench/engine.py: what is measured, against whom, and what the machine could do at best."""
