"""Health, ping, preflight, metrics, and the contract itself, in words. Handlers: web/system/."""

from btworker.errors import ErrorCode
from btworker.metrics import CONTENT_TYPES
from btworker.web.contract.files import STATIC_CONDITIONS, static_answers
from btworker.web.contract.operation import BINARY, JSON, TEXT, Answer, Header, Operation, json_of
from btworker.web.page.handlers import FILES, content_type
from btworker.web.system.docs import ASSETS
from btworker.web.system.shapes import HealthWire, LiveWire, NotReady, PingWire, PreflightWire, ReadyWire

TAG = "system"

HEALTH = Operation("health", TAG, "Who answers here", {200: Answer("always", json_of(HealthWire))})
LIVE = Operation("live", TAG, "For a liveness probe", {200: Answer("the loop turns", json_of(LiveWire))})
READY = Operation(
    "ready",
    TAG,
    "Whether jobs can be accepted and worked on",
    {
        200: Answer("they can", json_of(ReadyWire)),
        503: Answer(
            "every reason why not: DRAINING or NOT_READY",
            json_of(NotReady),
            (Header("Retry-After", "seconds", {"type": "integer"}, required=True),),
        ),
    },
)
METRICS = Operation(
    "metrics",
    TAG,
    "For Prometheus",
    {200: Answer("the text format, or OpenMetrics", {kind.partition(";")[0]: TEXT for kind in CONTENT_TYPES})},
    more="docs/metrics.md has every metric.",
)
PING = Operation(
    "ping",
    TAG,
    "What this worker is and how busy",
    {200: Answer("always, whatever the children are doing", json_of(PingWire))},
)
PREFLIGHT = Operation(
    "preflight",
    TAG,
    "What the children found in their own environment",
    {200: Answer("also where something is missing: see `status`", json_of(PreflightWire))},
)
DOCUMENT = Operation(
    "openapi",
    TAG,
    "This document",
    static_answers("OpenAPI 3.1", {JSON: {"type": "object"}}),
    headers=STATIC_CONDITIONS,
)
PAGE = Operation("docs", TAG, "A page to try the API", {200: Answer("Swagger UI", {"text/html": TEXT})})
WELCOME = Operation(
    "page",
    TAG,
    "The page to work in, where Accept names text/html; else what this is",
    static_answers("a page", {"text/html": TEXT}),
    headers=STATIC_CONDITIONS,
)
PAGE_ASSET = Operation(
    "pageAsset",
    TAG,
    "A file of that page",
    static_answers("the file", {content_type(name): BINARY for name in FILES}),
    (ErrorCode.NOT_FOUND,),
    headers=STATIC_CONDITIONS,
    path={"name": {"enum": list(FILES)}},
)
ASSET = Operation(
    "docsAsset",
    TAG,
    "A file of that page",
    static_answers("the file", {kind.partition(";")[0]: BINARY for kind in ASSETS.values()}),
    (ErrorCode.NOT_FOUND,),
    headers=STATIC_CONDITIONS,
    path={"name": {"enum": list(ASSETS)}},
)
