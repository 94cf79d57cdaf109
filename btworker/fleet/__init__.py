"""A pool of several boxes: what a single machine's children are to pool/, whole machines are here.

    front end                                   gateway child          box: one for each machine
        |  pick, send(RunTask) -> pool.py --- task queue ---> gateway.py ---- Ray ----> box.py: today's local pool
        | <--- events() ------- pool.py <--- event queue ---- gateway.py <--- Ray ----- box.py  (pool/supervisor.py)
        |                                                                                  |
        |  web/fleet/  <--------- HTTP: inputs down; windows, players' files, results up -- courier.py

Rules
- Only records cross (records.py), by whatever the gateway knows boxes by; bytes go by HTTP, from the box to the front.
- What a box may read and write is one attempt of one job, by a ticket that ends with the attempt (leases.py). What
  comes later changes nothing, whoever sends it.
- A box's first word is Joined; whatever it had before is over then. A box that is silent for too long is lost, and has
  to join again. Nothing of a session that is over counts.
- Nobody waits for the line between two jobs: a box fetches what is next beside its work (prefetching.py,
  box_prefetch.py), and a slot is free when its child is done, while results are on their way (WorkDone).
- A long recording is decoded by several boxes as by several children: by parts, that one gives to others (sharing.py,
  box_lending.py, box_help.py).
- The front end keeps all state; a box that dies costs the window that was at work in it.
"""
