"""The page to work in, as a browser gets it at the worker's address. Parent.

    handlers.py     GET / and /page/{name}, with the policy that the browser holds the page to
    files/          the page's own modules, one job each; files/strings.js has every word
    vendor/         its libraries at pinned versions (tools/vendor_page.py writes them)

There is no build step: what is in the folders is what is served.
"""
