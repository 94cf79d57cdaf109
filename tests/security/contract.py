"""Sends cases made from /openapi.json to the real server: `make fuzz CASES=10000`, or a short run in the suite.

schemathesis makes the cases: valid and invalid ones for each operation, with good and bad tokens, with ids of jobs and
uploads that are there; then it walks along the document's links. The answer to each has to be a documented one, by its
status, content type, headers and body, and no 5xx. Every case follows from the seed, the versions of the packages and
the modules that are loaded, of which hypothesis takes constants; but for the ids that the server gives.
"""

import argparse
import itertools
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import hypothesis
import requests
import schemathesis
from hypothesis import strategies as st
from hypothesis.errors import Flaky, Unsatisfiable
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests.process.server_of import TOKEN, Server, serving

GOOD = f"Bearer {TOKEN}"
TOKENS = (*[GOOD] * 8, None, "Bearer wrong", f"Basic {TOKEN}")
"""What a case is sent with; None: nothing."""
NOT_ASKED = [positive_data_acceptance, negative_data_rejection]
"""What no schema can say: which models there are, which options go together; and a form's text has no types."""
DEADLINE_S = 60.0
EXAMPLES = 9
"""Cases of an operation in one round."""
WALK_STEPS = 12
WALKS = 0.2
"""Share of the cases that are steps along links."""
MADE = re.compile(r"/v1/(jobs|uploads)/(\w+)")
PARAMETERS = {"jobs": "job_id", "uploads": "upload_id"}
FREE = ("model", "language", "options", "callbackUrl", "minSpeakers", "maxSpeakers", "numSpeakers")
"""Options of which a schema cannot say what is allowed: an easy case goes without them."""
OUTPUT = "talk_transcript.json"
ENVIRONMENT = {"WORKER_QUEUE_LIMIT": "100000", "WORKER_RESUMABLE_LIMIT": "100000", "WORKER_MAX_FILE_MB": "4"}
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")


class Run:
    """Cases against one server: how many, what came back, what was wrong."""

    def __init__(self, server: Server, *, seed: int, document: dict[str, Any] | None = None) -> None:
        found = document or server.request("GET", "/openapi.json")[1]
        self.schema = schemathesis.openapi.from_dict(found)
        self.seed = seed
        self.cases = 0
        self.statuses: Counter[int] = Counter()
        self.operations: Counter[str] = Counter()
        self.failures: dict[str, str] = {}
        """The first of each kind, with the request that shows it."""
        self._known: dict[str, list[str]] = {name: [] for name in PARAMETERS.values()}
        self._make = {"job_id": self._new_job, "upload_id": self._new_upload}
        self._server = server
        self._session = requests.Session()
        self._session.trust_env = False

    def close(self) -> None:
        """Close connections."""
        self._session.close()

    def until(self, count: int) -> None:
        """Send this many cases or some more: rounds over all operations, and walks."""
        for number in itertools.count(self.seed):
            self.round(number)
            self._walk(number, steps=round(self.cases * WALKS) - self.operations["walks"])
            if self.cases >= count:
                return

    def round(self, seed: int) -> None:
        """Some cases of every operation."""
        for found in self.schema.get_all_operations():
            for mode in schemathesis.GenerationMode:
                self._some(found.ok(), mode, seed)

    def _some(self, operation: Any, mode: Any, seed: int) -> None:
        ids = {parameter.name for parameter in operation.path_parameters} & self._known.keys()
        for name in ids:
            self._known[name].append(self._make[name]())

        @hypothesis.seed(seed)
        @hypothesis.settings(_settings(), max_examples=EXAMPLES)
        @hypothesis.given(
            case=operation.as_strategy(mode),
            token=st.sampled_from(TOKENS),
            known=st.none() | st.integers(0, 3),
            easy=st.booleans(),
        )
        def send(case: Any, token: str | None, known: int | None, easy: bool) -> None:
            for name in ids if known is not None else ():
                case.path_parameters[name] = self._known[name][-1 - known % len(self._known[name])]
                if easy and "name" in case.path_parameters:
                    case.path_parameters["name"] = OUTPUT
            if easy:
                _ease(case)
            self.one(case, token)

        with _generators_own_faults():
            try:
                send()
            except Unsatisfiable:
                assert mode is schemathesis.GenerationMode.NEGATIVE, operation.label  # nothing to get wrong

    def _new_job(self) -> str:
        return str(self._server.ended(self._server.upload("talk.wav", b"hello"))["workerJobId"])

    def _new_upload(self) -> str:
        headers = {"Authorization": GOOD, "Tus-Resumable": "1.0.0", "Upload-Defer-Length": "1"}
        answer = self._session.post(f"{self._server.url}/v1/uploads", headers=headers, timeout=DEADLINE_S)
        return answer.headers["Location"].rpartition("/")[2]

    def _walk(self, seed: int, *, steps: int) -> None:
        run = self

        class Walk(self.schema.include(tag="jobs").as_state_machine()):  # type: ignore[misc]
            def before_call(self, case: Any) -> None:
                _ease(case)

            def call(self, case: Any, **_: Any) -> Any:
                run.operations["walks"] += 1
                return run.answer(case, GOOD)

            def validate_response(self, response: Any, case: Any, **_: Any) -> None:
                run.check(case, response, recorder=self.recorder)

        settings = hypothesis.settings(
            _settings(), max_examples=max(steps // WALK_STEPS, 1), stateful_step_count=WALK_STEPS
        )
        Walk.rule_order_seed = seed
        hypothesis.seed(seed)(Walk)
        with _generators_own_faults(), suppress(Flaky):  # a job has ended meanwhile, or has not
            Walk.run(settings=settings)

    def one(self, case: Any, token: str | None) -> None:
        """Send a case and look at the answer."""
        try:
            response = self.answer(case, token)
        except requests.RequestException as error:
            self.failures.setdefault(f"{case.operation.label} {type(error).__name__}", repr(error))
        else:
            self.check(case, response)

    def answer(self, case: Any, token: str | None) -> Any:
        """The answer to a case."""
        headers = {} if token is None else {"Authorization": token}
        response = case.call(base_url=self._server.url, headers=headers, timeout=DEADLINE_S, session=self._session)
        self.cases += 1
        self.operations[case.operation.label] += 1
        self.statuses[response.status_code] += 1
        for location in response.headers.get("location", ()):
            if made := MADE.fullmatch(location):
                self._known[PARAMETERS[made[1]]].append(made[2])
        return response

    def check(self, case: Any, response: Any, **context: Any) -> None:
        """Hold an answer against the document, and against the token that was sent."""
        label = case.operation.label
        sent = response.request.headers.get("Authorization")
        closed = case.operation.definition.raw.get("security") != []
        if closed and sent != GOOD and response.status_code not in (400, 401):
            self.failures.setdefault(f"{label} let in", f"{sent!r}: {response.status_code}")
        try:
            case.validate_response(response, excluded_checks=NOT_ASKED, **context)
        except FailureGroup as group:
            for failure in group.exceptions:
                self.failures.setdefault(f"{label} {failure.title} {response.status_code}", str(group))


@contextmanager
def _generators_own_faults() -> Iterator[None]:
    """schemathesis 4.32 now and then asks a validator about its own wrapper of bytes, and so ends these few cases."""
    try:
        yield
    except ValueError as error:
        if "Unsupported type: 'Binary'" not in str(error):
            raise


def _ease(case: Any) -> None:
    if isinstance(case.body, dict):
        for name in FREE:
            case.body.pop(name, None)


def _settings() -> hypothesis.settings:
    return hypothesis.settings(
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )


@contextmanager
def running(server: Server, *, seed: int) -> Iterator[Run]:
    """A run; at the end nothing may have been found, and the server is alive."""
    run = Run(server, seed=seed)
    try:
        yield run
    finally:
        run.close()
    assert server.process.poll() is None, "the server died"
    found = "\n\n".join(f"== {kind}\n{text}" for kind, text in run.failures.items())
    assert not run.failures, f"seed {seed}, after {run.cases} cases:\n{found}"


def main() -> None:
    """Send cases and say what came back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(f"cases from /openapi.json, seed {arguments.seed}", flush=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), **ENVIRONMENT) as server,
        running(server, seed=arguments.seed) as run,
    ):
        run.until(arguments.cases)
    print(f"{run.cases} cases, the answers by status: {dict(sorted(run.statuses.items()))}")


if __name__ == "__main__":
    main()
