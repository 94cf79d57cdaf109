"""S19: what the server answers is what /openapi.json says, whoever asks and however."""

from collections.abc import Iterator

import pytest

from tests.process.server_of import Server, serving
from tests.slices import FULL, seed_of

pytest.importorskip("schemathesis", reason="the pinned one needs Python 3.11")
from tests.security.contract import ENVIRONMENT, Run, running

CASES = 2000 if FULL else 500
SEED = seed_of("cases from the contract") % 2**32 if FULL else 19
"""The same in every commit, so that a landing never fails for an old mistake; others belong to a release."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One of its own: some cases wait for a job, and none may find the queue full."""
    with serving(tmp_path_factory.mktemp("contract"), **ENVIRONMENT) as server:
        yield server
        assert server.stop() == 0


@pytest.mark.timeout(600)
def test_every_answer_is_a_documented_one(server: Server) -> None:
    """500 cases (2,000 in full) of all operations, with good and bad tokens; `make fuzz` sends 10,000."""
    with running(server, seed=SEED) as run:
        print(f"seed {SEED}")
        run.until(CASES)
        assert set(run.operations) > {operation.ok().label for operation in run.schema.get_all_operations()}
        assert {200, 201, 204, 400, 401, 404, 412} <= set(run.statuses)


def test_what_is_not_documented_is_noticed(server: Server) -> None:
    """A rule that finds nothing proves nothing: a document without a status, a content type and a shape is found wrong,
    and so is one that calls a closed route open.
    """
    document = server.request("GET", "/openapi.json")[1]
    del document["paths"]["/v1/preflight"]["get"]["responses"]["401"]
    document["paths"]["/metrics"]["get"]["responses"]["200"]["content"] = {"text/html": {}}
    document["components"]["schemas"]["LiveWire"]["properties"]["status"] = {"type": "integer"}
    document["paths"]["/health"]["get"]["responses"]["200"]["headers"]["X-None"] = {"required": True, "schema": {}}
    document["paths"]["/health/ready"]["get"]["security"] = [{"token": []}]
    wrong = {"/v1/preflight", "/metrics", "/health/live", "/health", "/health/ready"}
    document["paths"] = {path: document["paths"][path] for path in sorted(wrong)}
    run = Run(server, seed=SEED, document=document)
    run.round(SEED)
    run.close()
    assert {kind.split()[1] for kind in run.failures} == wrong
