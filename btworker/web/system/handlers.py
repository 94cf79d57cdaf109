"""Health, ping, preflight and metrics: what machines ask about this worker. Parent, without side effects.

What only a child can know (versions, the GPU, diarization) comes from its Ready or Unready; before the first of them
the answer is "no", with the reason.
"""

from dataclasses import asdict
from typing import Any, Literal

from aiohttp import web

from btworker import __version__
from btworker.config import Settings
from btworker.config.server import NO_COMMIT
from btworker.errors import ErrorCode
from btworker.messages import EngineInfo
from btworker.metrics import Machine
from btworker.pool import BoxStatus
from btworker.service.awaited import problems, unready
from btworker.storage import DiskSpace
from btworker.web.context import Context, context_of
from btworker.web.jobs.handlers import json_answer
from btworker.web.middlewares import error_response
from btworker.web.system.looks import ANSWER_S
from btworker.web.system.shapes import (
    BoxStatusWire,
    BoxWire,
    GpuWire,
    HealthWire,
    IdentityWire,
    LiveWire,
    PingWire,
    PreflightWire,
    ReadyWire,
)

PING_WAIT_S = 0.1
"""Ping is quick, whatever the disk does."""
SCRAPE_WAIT_S = 0.005
"""So is a scrape, which shows the last look where there was one."""
PREFLIGHT_CHECKS = ("numpy", "torch", "torch_cuda", "whisper", "diarization")
ALL_DRAINED = "every box that could take jobs is drained (btworker fleet resume BOX)"
NOT_YET = "no worker is ready yet: "
CRITICAL = ("numpy", "torch", "whisper", "model")


async def health(request: web.Request) -> web.StreamResponse:
    """GET /health"""
    settings = context_of(request).settings
    return json_answer(HealthWire(model=settings.model, max_file_mb=settings.max_file_mb))


async def live(_request: web.Request) -> web.StreamResponse:
    """GET /health/live: the loop turns; also while draining."""
    return json_answer(LiveWire())


async def ready(request: web.Request) -> web.StreamResponse:
    """GET /health/ready: 200, or 503 with every reason; `loading` where the model is all that is awaited, and on a 200
    where the next job brings it."""
    context = context_of(request)
    reasons = _reasons(context, *await context.looks.seen(ANSWER_S))
    if not reasons:
        loading = not any(worker.loaded for worker in context.service.workers())
        return json_answer(ReadyWire(loading=loading, boxes=_box_statuses(context)))
    code = ErrorCode.DRAINING if context.service.draining else ErrorCode.NOT_READY
    state: dict[str, Any] = {
        "status": "not_ready",
        "reasons": reasons,
        "loading": len(reasons) == 1 and reasons[0].startswith(NOT_YET),
    }
    if (boxes := _box_statuses(context)) is not None:
        state["boxes"] = [box.model_dump(mode="json") for box in boxes]
    return error_response(code, "; ".join(reasons), more=state)


def _box_statuses(context: Context) -> tuple[BoxStatusWire, ...] | None:
    """Names and states of a fleet's boxes; None where there is no fleet."""
    boxes = context.service.boxes()
    return None if boxes is None else tuple(BoxStatusWire(box=box.box, status=box.status) for box in boxes)


def _reasons(context: Context, disk: DiskSpace | None, store: str | None) -> list[str]:
    """Why this worker is not ready, as sentences; empty where it is."""
    store_reason = "the job table does not answer" if store is None else store
    found = (_drain_reason(context), _pool_reason(context), _disk_reason(context, disk), store_reason)
    return [reason for reason in found if reason]


def _drain_reason(context: Context) -> str:
    return "the worker is shutting down" if context.service.draining else ""


def _pool_reason(context: Context) -> str:
    if any(worker.ready for worker in context.service.workers()):
        boxes = context.service.boxes()
        open_boxes = boxes is None or any(box.ready and box.status is not BoxStatus.DRAINED for box in boxes)
        return "" if open_boxes else ALL_DRAINED
    return "; ".join(problems(context.service.workers())) or _loading(context)


def _disk_reason(context: Context, disk: DiskSpace | None) -> str:
    if disk is None:
        return "the data disk does not answer"
    reserve = context.settings.disk_reserve_bytes
    return "" if disk.free_bytes > reserve else "the data disk is below its reserve (WORKER_DISK_RESERVE_MB)"


def _loading(context: Context) -> str:
    """What is awaited where no worker is ready and nothing is wrong."""
    return NOT_YET + unready(context.service.workers())


def _infos(context: Context) -> list[EngineInfo]:
    """What the children reported, those of ready workers first."""
    workers = sorted(context.service.workers(), key=lambda worker: not worker.ready)
    return [worker.info for worker in workers if worker.info is not None]


async def ping(request: web.Request) -> web.StreamResponse:
    """GET /v1/ping: always 200, whatever the children are doing."""
    context = context_of(request)
    settings, service = context.settings, context.service
    disk = await context.looks.disk.seen(PING_WAIT_S)
    boxes = service.boxes()
    answer = PingWire(
        version=__version__ if settings.build_commit == NO_COMMIT else settings.build_commit,
        worker_version=__version__,
        identity=_identity(settings),
        **_engine_part(context),
        models=tuple(settings.model_paths),
        max_file_mb=settings.max_file_mb,
        active_jobs=service.slots if service.draining else service.active(),
        max_concurrent_jobs=service.slots,
        waiting_jobs=service.waiting(),
        gpus=tuple(GpuWire(**asdict(reading)) for reading in context.machine.gpu_watch.readings()),
        disk_free_bytes=None if disk is None else disk.free_bytes,
        disk_size_bytes=None if disk is None else disk.size_bytes,
        disk_reserve_bytes=settings.disk_reserve_bytes,
        warnings=tuple(_warnings(context)),
        boxes=None if boxes is None else tuple(BoxWire(**asdict(box)) for box in boxes),
    )
    return json_answer(answer)


def _identity(settings: Settings) -> IdentityWire:
    return IdentityWire(
        git_commit=settings.build_commit,
        build_time=settings.build_time,
        declared_image_digest=settings.image_digest,
        image_digest_source="env" if settings.image_digest else "none",
    )


def _engine_part(context: Context) -> dict[str, Any]:
    """PingWire's fields that only a child knows."""
    infos = _infos(context)
    gpu = next((info for info in infos if info.cuda), None)
    part: dict[str, Any] = {
        "gpu": gpu is not None,
        "gpu_name": gpu.gpu_name if gpu else None,
        "cuda": dict(gpu.versions).get("cuda") if gpu else None,
        "diarization": any(info.diarization for info in infos),
    }
    if not part["diarization"]:
        part["diarization_error"] = next((info.diarization_error for info in infos if info.diarization_error), None)
    return part


def _warnings(context: Context) -> list[str]:
    warnings = problems(context.service.workers())
    if not warnings and not any(worker.ready for worker in context.service.workers()):
        warnings.append(_loading(context))
    used = {worker.device.uuid for worker in context.service.workers()}
    if idle := [gpu for gpu in context.machine.gpus if gpu.uuid not in used]:
        names = ", ".join(f"{gpu.label} ({gpu.name})" for gpu in idle)
        warnings.append(f"idle GPUs: {names}; raise WORKER_MAX_CONCURRENT_JOBS, or set it to auto")
    if context.settings.worker_version is not None:
        warnings.append("WORKER_VERSION is set: it is deprecated and has no effect")
    return warnings


async def preflight(request: web.Request) -> web.StreamResponse:
    """GET /v1/preflight: the checks that the children made of their own environment."""
    context = context_of(request)
    infos = _infos(context)
    info = (
        infos[0]
        if infos
        else EngineInfo(errors=(("worker", "; ".join(problems(context.service.workers())) or _loading(context)),))
    )
    reported = dict(info.checks)
    checks = {**dict.fromkeys(PREFLIGHT_CHECKS, False), **reported}
    errors = dict(info.errors)
    if infos and not any(worker.ready for worker in context.service.workers()):
        errors.setdefault("worker", "; ".join(problems(context.service.workers())) or _loading(context))
    good = all(reported.get(name, name == "model") for name in CRITICAL) and "worker" not in errors
    status: Literal["ok", "error"] = "ok" if good else "error"
    return json_answer(PreflightWire(status=status, checks=checks, versions=dict(info.versions), errors=errors))


async def metrics(request: web.Request) -> web.StreamResponse:
    """GET /metrics"""
    context = context_of(request)
    looks = context.looks
    disk, store = await looks.seen(SCRAPE_WAIT_S if looks.have_answered else ANSWER_S)
    machine = Machine(ready=not _reasons(context, disk, store), disk=disk, gpus=context.machine.gpu_watch.readings())
    text, kind = context.metrics.scrape(machine, request.headers.get("Accept", ""))
    return web.Response(body=text, headers={"Content-Type": kind})
