"""A store that speaks S3: moto's server, behind a proxy that recomputes every signature and makes trouble on demand.

worker (obstore) --> Proxy: SigV4 by the secret, the body's hash; trouble --> moto --> objects in memory
"""

import hashlib
import hmac
import http.client
import logging
import os
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import parse_qsl, quote

import pytest

ACCESS_KEY, SECRET = "AKIDTESTS", "a/secret+of/the=tests"
REGION = "eu-test-1"
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request, ?"
    r"SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})"
)
_HOP_BY_HOP = frozenset({"connection", "transfer-encoding", "server", "date", "content-length"})


@dataclass(frozen=True)
class Asked:
    """One request of the worker."""

    method: str
    path: str
    headers: dict[str, str]
    size_bytes: int


@dataclass
class Trouble:
    """What becomes of requests from now on; `at` sees each, and says whether it is met."""

    at: Callable[[Asked], bool] = lambda _: True
    status: int = 0
    """Answered in place of the store; 0: its own answer."""
    cut_after: int | None = None
    """Bytes of the answer's body after which the connection is reset."""
    before: Callable[[], None] = lambda: None
    """Called before the request is passed on."""
    times: int = 10**9


@dataclass
class Storage:
    """A store under test."""

    moto_port: int
    client: Any
    """boto3's, past the proxy."""
    endpoint: str = ""
    asked: list[Asked] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """Requests whose signature or body's hash is not what it has to be."""
    trouble: Trouble | None = None

    def put(self, key: str, body: bytes, bucket: str = "recordings") -> None:
        """An object, past the proxy."""
        self.client.put_object(Bucket=bucket, Key=key, Body=body)

    def get(self, key: str, bucket: str = "results") -> bytes:
        """An object's content."""
        return bytes(self.client.get_object(Bucket=bucket, Key=key)["Body"].read())

    def keys(self, bucket: str = "results") -> list[str]:
        """All keys of a bucket."""
        return [item["Key"] for item in self.client.list_objects_v2(Bucket=bucket).get("Contents", [])]

    def clear(self) -> None:
        """Forget what was asked, and all trouble and objects."""
        self.asked.clear()
        self.wrong.clear()
        self.trouble = None
        for bucket in ("recordings", "results"):
            for key in self.keys(bucket):
                self.client.delete_object(Bucket=bucket, Key=key)

    def stores_file(self, folder: Path, **changes: Any) -> Path:
        """The operator's file for a worker, with one store, `archive`."""
        table = {
            "endpoint": self.endpoint,
            "region": REGION,
            "access_key_id": ACCESS_KEY,
            "secret_access_key": SECRET,
            "read": ["recordings/calls/", "recordings/public"],
            "write": ["results/texts"],
            "keys": ["ann"],
            **changes,
        }
        path = folder / "stores.toml"
        lines = [f"{name} = {toml(value)}" for name, value in table.items() if value is not None]
        path.write_text("[archive]\n" + "\n".join(lines) + "\n", encoding="utf-8")
        path.chmod(0o600)
        return path


def toml(value: object) -> str:
    """A value as TOML writes it."""
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return str(value).lower() if isinstance(value, bool) else f'"{value}"'


@contextmanager
def cleared(store: Storage) -> Iterator[Storage]:
    """The store, without what another test left; whatever the test does, every request was signed right."""
    store.clear()
    yield store
    assert store.wrong == []


@contextmanager
def storage() -> Iterator[Storage]:
    """A store with the buckets `recordings` and `results`."""
    pytest.importorskip("moto", reason="moto is locked for Python 3.11 and newer")
    with mock.patch.dict(os.environ, {"AWS_EC2_METADATA_DISABLED": "true"}):
        import boto3  # heavy: for those who use it
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        _, port = server.get_host_and_port()
        urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/reset", b"").close()  # what it has is the process's
        client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET,
        )
        for bucket in ("recordings", "results"):
            client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        store = Storage(port, client)
        proxy = Proxy(store)
        try:
            yield store
        finally:
            proxy.shutdown()
            proxy.server_close()
            client.close()
            server.stop()


class Proxy(ThreadingHTTPServer):
    """Between the worker and moto, in threads of its own."""

    daemon_threads = True

    def __init__(self, store: Storage) -> None:
        super().__init__(("127.0.0.1", 0), Passing)
        self.store = store
        store.endpoint = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, name="s3-proxy", daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what some tests are about."""


class Passing(BaseHTTPRequestHandler):
    """One request: judged, passed on, answered."""

    protocol_version = "HTTP/1.1"
    server: Proxy

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Say nothing."""

    def do(self) -> None:
        """Any method."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        store, headers = self.server.store, {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, self.path, headers, len(body))
        store.asked.append(asked)
        if problem := wrong_signature(asked, body):
            store.wrong.append(f"{self.command} {self.path}: {problem}")
        trouble = store.trouble
        if trouble is not None and trouble.times > 0 and trouble.at(asked):
            trouble.times -= 1
            trouble.before()
        else:
            trouble = None
        if trouble is not None and trouble.status:
            self._answer(trouble.status, [], b"<Error><Code>Trouble</Code></Error>", None)
            return
        connection = http.client.HTTPConnection("127.0.0.1", store.moto_port)
        connection.request(self.command, self.path, body, {**headers, "host": f"127.0.0.1:{store.moto_port}"})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        self._answer(answer.status, answer.getheaders(), content, None if trouble is None else trouble.cut_after)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do  # noqa: N815 - their names there

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, cut_after: int | None) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        size = {name.lower(): value for name, value in headers}.get("content-length", "0")
        self.send_header("Content-Length", size if self.command == "HEAD" else str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if cut_after is None:
            self.wfile.write(body)
            return
        self.wfile.write(body[:cut_after])
        self.wfile.flush()
        self.close_connection = True


def wrong_signature(asked: Asked, body: bytes) -> str:
    """What is wrong with a request by AWS Signature Version 4, worked out from its words; empty where nothing is."""
    if "X-Amz-Signature=" in asked.path:
        return _wrong_address(asked)
    found = _AUTHORIZATION.fullmatch(asked.headers.get("authorization", ""))
    if found is None:
        return "no SigV4"
    access_key, day, region, signed, signature = found.groups()
    payload, moment = asked.headers.get("x-amz-content-sha256", ""), asked.headers.get("x-amz-date", "")
    if payload != hashlib.sha256(body).hexdigest():
        return "the body is not what was signed"
    age_s = time.time() - datetime.strptime(moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc).timestamp()
    if (access_key, region, moment[:8]) != (ACCESS_KEY, REGION, day) or abs(age_s) > 300:
        return "another key, region or day"
    if asked.headers.get("x-amz-security-token"):
        return "a session token that the file does not have"
    if not {"host", "x-amz-content-sha256", "x-amz-date"} <= set(signed.split(";")):
        return "too few headers are signed"
    right = _signature(asked, signed, payload, day, moment)
    return "" if hmac.compare_digest(right, signature) else "the signature is not that of the secret"


def _wrong_address(asked: Asked) -> str:
    """The same of a request whose address is signed, and good for a while."""
    query = dict(parse_qsl(asked.path.partition("?")[2], True))
    access_key, day, region, *_ = query["X-Amz-Credential"].split("/")
    moment, lifetime_s = query["X-Amz-Date"], int(query["X-Amz-Expires"])
    age_s = time.time() - datetime.strptime(moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc).timestamp()
    if (access_key, region, moment[:8]) != (ACCESS_KEY, REGION, day):
        return "another key, region or day"
    if not -300 < age_s < lifetime_s <= 900:
        return "the address has expired, or is good for too long"
    if "authorization" in asked.headers:
        return "a ticket of the front end went to the store"
    right = _signature(asked, query["X-Amz-SignedHeaders"], "UNSIGNED-PAYLOAD", day, moment)
    return "" if hmac.compare_digest(right, query["X-Amz-Signature"]) else "the signature is not that of the secret"


def _signature(asked: Asked, signed: str, payload: str, day: str, moment: str) -> str:
    """What the secret makes of a request."""
    path, _, query = asked.path.partition("?")
    named = [(name, value) for name, value in parse_qsl(query, True) if name != "X-Amz-Signature"]
    pairs = sorted(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in named)
    lines = [f"{name}:{' '.join(asked.headers[name].split())}" for name in signed.split(";")]
    canonical = "\n".join([asked.method, path, "&".join(pairs), *lines, "", signed, payload])
    scope = f"{day}/{REGION}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{SECRET}".encode()
    for part in (day, REGION, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), hashlib.sha256)
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
