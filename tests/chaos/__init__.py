"""Chaos: the real server under load and under faults, and a ledger that says afterwards what was lost or doubled.

plan.py ---- seed --> jobs and faults, when and what
   |
run.py: load.py (clients), faults.py, server.py (the process), watch.py --> ledger.py (fsynced) --> checks.py
"""
