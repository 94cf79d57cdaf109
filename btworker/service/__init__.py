"""The service: accepts jobs, queues them, runs them on the pool, and is the only writer of a job's state.

    web ----> JobService (jobs.py) ----> JobTable (table.py) ----> store/, storage.py
                                              ^
      Attempts (attempts.py): dispatch -----> pool ----> events ----> on_event
Parent only. Calls go down; what happens to a running job comes up as the pool's one stream of events.
"""

from btworker.service.jobs import JobService
from btworker.service.records import JobPage, NewJob

__all__ = ["JobPage", "JobService", "NewJob"]
