"""What keys used, in words. Handler: web/usage.py."""

from btworker.web.contract.operation import JSON, STORE, TEXT, Answer, Operation, Shape
from btworker.web.usage import CSV, UsageListWire, UsageQuery

USAGE = Operation(
    "usage",
    "usage",
    "What was used, by key and day",
    {200: Answer("the days on which jobs ended", {JSON: Shape(UsageListWire), CSV: TEXT})},
    STORE,
    more="By the caller's key; by every key where it may read all. Days are UTC's; the last 31 unless asked otherwise.",
    query=UsageQuery,
)
