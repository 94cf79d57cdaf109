"""The fleet's own listener: bytes between boxes and the front end (btworker/fleet/courier.py is the other side)."""
