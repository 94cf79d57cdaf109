"""What the worker asks of others: it fetches inputs by URL, pushes outputs, and reports the end of jobs. Parent.

One step at a time, without a memory: service/ knows the jobs, repeats what failed, and keeps what was reached.
"""
