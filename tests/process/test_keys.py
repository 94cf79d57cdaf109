"""`btworker keys` and the worker process: keys are good at once, over kill -9, and their tokens are nowhere."""

import re
from pathlib import Path

from tests.process.keys_of import keys
from tests.process.server_of import TOKEN, Server, serving


def status(server: Server, token: str, path: str = "/v1/jobs") -> int:
    """What the token is answered."""
    return server.request("GET", path, Authorization=f"Bearer {token}")[0]


def test_keys_with_a_worker_and_without(tmp_path: Path) -> None:
    """One that is made before the first start is good in it; one that is made meanwhile, with the next request; both
    after kill -9, and a revoked one never again. The token is on stdout, alone, and in no log or file."""
    assert "there is no data folder" in keys(tmp_path, "list", code=73).stderr
    made = keys(tmp_path, "add", "early", "--expires", "90d")
    early = made.stdout.removesuffix("\n")
    assert "no worker has run with" in made.stderr
    assert re.fullmatch(r"btwk_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", early)
    with serving(tmp_path, WORKER_LOG_LEVEL="debug") as server:
        late = keys(tmp_path, "add", "late", "--scopes", "read-all").stdout.removesuffix("\n")
        gone = keys(tmp_path, "add", "gone", "--scopes", "submit,metrics").stdout.removesuffix("\n")
        assert (status(server, early), status(server, late), status(server, gone)) == (200, 200, 403)
        keys(tmp_path, "revoke", "gone")
        assert status(server, gone) == 401
        server.process.kill()
        server.process.wait()
        server.start()
        assert [status(server, token) for token in (early, late, gone, TOKEN)] == [200, 200, 401, 200]
        assert "there is a key of the name 'late'" in keys(tmp_path, "add", "late", code=1).stderr
        assert server.stop() == 0
    shown = keys(tmp_path, "list").stdout
    assert all(word in shown for word in ("early", "read-all", "revoked", "never"))
    texts = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()] + [shown.encode()]
    for token in (early, late, gone):
        assert not any(token.split("_", 2)[2].encode() in text for text in texts)
