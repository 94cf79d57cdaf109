"""Settings of the front end: who may call, what is listened to, how a request is read, what is logged."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

from btworker.config.names import KUBERNETES_ADDRESS
from btworker.config.parsing import ANY_CASE, FROM_ENVIRONMENT, env, read_tokens

SHORT_TOKEN = 16
"""Characters below which a token can be guessed by trying, if nobody limits the tries."""
NEW_TOKEN = "python -c 'import secrets; print(secrets.token_urlsafe())' makes a good token"  # noqa: S105 - no token
NO_COMMIT = "unknown"
"""The commit of a build that names none."""

DEFAULT_PORT = 8477


class ServerSettings(BaseSettings):
    """The front end's part of Settings."""

    model_config = FROM_ENVIRONMENT

    token: SecretStr | None = Field(None, validation_alias=env("WORKER_TOKEN"))
    """The operator's bearer token, which may do everything; others get keys (docs/keys.md). Required (or
    WORKER_TOKEN_FILE): an open transcription box is never meant."""
    token_file: Path | None = Field(None, validation_alias=env("WORKER_TOKEN_FILE"))
    """A file with one token a line, for rotation; the first is the one sent to controllers."""
    host: str = Field("127.0.0.1", validation_alias=env("WORKER_HOST"))
    """Address to listen on. Loopback unless set otherwise; the image sets 0.0.0.0."""
    port: int = Field(DEFAULT_PORT, ge=0, le=65535, validation_alias=env("WORKER_PORT"))
    """TCP port; 0 takes a free one and prints it. What Kubernetes sets for a service that is called worker
    (tcp://…) does not count."""
    ticket_minutes: float = Field(60.0, gt=0, le=1440, validation_alias=env("WORKER_TICKET_MINUTES"))
    """Minutes for which an address with a ticket plays a recording without a token: players ask again and again while
    somebody works on a transcript, and an address may be found in a browser's history."""
    ping_public: bool = Field(False, validation_alias=env("WORKER_PING_PUBLIC"))
    """True: /v1/ping needs no token."""
    metrics_public: bool = Field(True, validation_alias=env("WORKER_METRICS_PUBLIC"))
    """False: /metrics needs the token."""
    header_timeout_s: float = Field(30.0, gt=0, le=3600, validation_alias=env("WORKER_HEADER_TIMEOUT_SECONDS"))
    """Seconds a client has to send a request's headers; slow-loris protection."""
    body_idle_s: float = Field(60.0, gt=0, le=3600, validation_alias=env("WORKER_BODY_IDLE_SECONDS"))
    """Seconds without a byte after which an upload is given up with IDLE_TIMEOUT."""
    refused_drain_mb: int | None = Field(None, ge=0, validation_alias=env("WORKER_REFUSED_DRAIN_MB"))
    """Megabytes of a refused body that are still read and dropped: most clients send all of it before they look for the
    answer, and see a reset where nobody reads. Default: WORKER_MAX_FILE_MB."""
    refused_drain_s: float = Field(30.0, ge=0, le=3600, validation_alias=env("WORKER_REFUSED_DRAIN_SECONDS"))
    """Seconds that this may take; then the connection is closed."""
    refused_drain_connections: int = Field(
        64, ge=0, le=10_000, validation_alias=env("WORKER_REFUSED_DRAIN_CONNECTIONS")
    )
    """Connections that are read from like this at once, so that refused clients cannot take the network from others;
    of one more, at most 1 MB is read, for 2 s."""
    refused_drain_strangers: int = Field(8, ge=0, le=10_000, validation_alias=env("WORKER_REFUSED_DRAIN_STRANGERS"))
    """How many of these may be of clients without a valid token."""
    write_idle_s: float = Field(60.0, ge=1, le=3600, validation_alias=env("WORKER_WRITE_IDLE_SECONDS"))
    """Seconds that an answer may wait for a client that takes nothing of it; then the connection is closed."""
    interim_s: float = Field(100.0, ge=0, le=3600, validation_alias=env("WORKER_INTERIM_SECONDS"))
    """Seconds after which a request of OpenAI's packages that waits for its transcript gets a `102 Processing`, and
    again: fetch in Node gives up after 300 s without one, OpenAI's package for Python after 600. 0: never, for a proxy
    that takes it for the answer."""
    stranger_connections: int = Field(256, ge=1, le=100_000, validation_alias=env("WORKER_STRANGER_CONNECTIONS"))
    """Open connections that have shown no valid token yet, health checks among them; one more costs the oldest its
    place, so that nobody without a token can take memory or descriptors from others."""
    resumable_hours: float = Field(24.0, gt=0, le=8760, validation_alias=env("WORKER_RESUMABLE_HOURS"))
    """Hours that an unfinished resumable upload is kept after its last byte."""
    resumable_limit: int = Field(1000, ge=1, le=100_000, validation_alias=env("WORKER_RESUMABLE_LIMIT"))
    """Resumable uploads that are begun and not yet jobs; more get 429 QUEUE_FULL."""
    upload_chunk_kb: int = Field(1024, ge=16, le=16_384, validation_alias=env("WORKER_UPLOAD_CHUNK_KB"))
    """KiB gathered before each write to disk; large writes keep the thread hops few."""
    fast_body_mb: int = Field(16, ge=0, le=1_000_000, validation_alias=env("WORKER_FAST_BODY_MB"))
    """Megabytes of a request's body from which on it is read past the HTTP parser, in a thread of its own: less than
    half the CPU time, but the connection is closed behind the answer."""
    fast_uploads: int = Field(8, ge=0, le=256, validation_alias=env("WORKER_FAST_UPLOADS"))
    """How many bodies are read like this at once, with 6 MB of memory each; any more go through the parser. 0: all."""
    file_threads: int = Field(8, ge=1, le=64, validation_alias=env("WORKER_FILE_THREADS"))
    """Threads for file work: enough to keep a few disks busy, few enough that a stuck disk costs little."""
    otlp_endpoint: str = Field("", pattern=r"^(https?://[^\s/]+\S*)?$", validation_alias=env("WORKER_OTLP_ENDPOINT"))
    """Address of a collector that takes traces by OTLP over HTTP, as http://127.0.0.1:4318 (docs/traces.md). Empty: no
    traces, and OpenTelemetry is not loaded."""
    trace_share: float = Field(1.0, ge=0, le=1, validation_alias=env("WORKER_TRACE_SHARE"))
    """Share of the requests that are traced where the caller does not say, 0 to 1: jobs are few, so all of them."""
    audit_mb: float = Field(64.0, ge=0, le=100_000, validation_alias=env("WORKER_AUDIT_MB"))
    """MB of a file of the audit log (who did what to which job, in `audit/` of the data folder) before the next one is
    begun; a line has about 150 bytes. 0 = none is kept."""
    audit_files: int = Field(16, ge=1, le=10_000, validation_alias=env("WORKER_AUDIT_FILES"))
    """Files of the audit log that are kept, the newest."""
    log_level: Annotated[Literal["debug", "info", "warning", "error"], ANY_CASE] = Field(
        "info", validation_alias=env("WORKER_LOG_LEVEL")
    )
    """Least severe level that is logged."""
    log_format: Annotated[Literal["auto", "json", "text"], ANY_CASE] = Field(
        "auto", validation_alias=env("WORKER_LOG_FORMAT")
    )
    """auto: text on a terminal, else JSON lines."""
    log_progress: bool = Field(False, validation_alias=env("WORKER_LOG_PROGRESS"))
    """True: progress of each window is logged."""
    build_commit: str = Field(NO_COMMIT, validation_alias=env("BUILD_COMMIT"))
    """The commit that this image was built from; ping shows it."""
    build_time: str = Field("unknown", validation_alias=env("BUILD_TIME"))
    """When this image was built; ping shows it."""
    image_digest: str | None = Field(None, validation_alias=env("IMAGE_DIGEST"))
    """The image's digest, as the operator declares it; ping shows it."""
    worker_version: str | None = Field(None, validation_alias=env("WORKER_VERSION"))
    """Deprecated and without effect: ping warns when it is set."""

    @field_validator("port", mode="before")
    @classmethod
    def _not_of_kubernetes(cls, raw: object) -> object:
        return DEFAULT_PORT if isinstance(raw, str) and KUBERNETES_ADDRESS.match(raw) else raw

    @property
    def upload_chunk_bytes(self) -> int:
        """WORKER_UPLOAD_CHUNK_KB in bytes."""
        return self.upload_chunk_kb * 1024

    @property
    def fast_body_bytes(self) -> int:
        """WORKER_FAST_BODY_MB in bytes."""
        return self.fast_body_mb * 2**20

    @property
    def tokens(self) -> tuple[str, ...]:
        """The accepted bearer tokens, the first one first."""
        own = (self.token.get_secret_value(),) if self.token else ()
        return tuple(dict.fromkeys((*own, *read_tokens(self.token_file))))

    @property
    def has_short_token(self) -> bool:
        """One of them is short enough to be guessed."""
        return any(len(token) < SHORT_TOKEN for token in self.tokens)
