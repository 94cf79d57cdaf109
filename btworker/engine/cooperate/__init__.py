"""Several pieces of work in one thread: ticket.py is what a piece waits for, side_by_side.py has them take turns."""
