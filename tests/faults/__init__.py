"""Faults on purpose: kill -9, failing and full disks, clients that vanish, bad files. The table: docs/reliability.md.

Every test runs the real server process (tests/process/server_of.py) and looks at what a client and the disk see.
BTWORKER_FULL=1 (CI) runs the counts of the table, else fewer. strace.py injects faults into single system calls,
clients.py keeps the ledger of what was accepted, disks.py makes small disks.
"""
