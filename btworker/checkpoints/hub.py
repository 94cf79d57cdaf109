"""Checkpoints from Hugging Face's hub: `hf:owner/name@revision`, and their files by the hashes that the hub names.

A repository's files are fetched into a folder that gets its name, the commit, when all of them are there and right;
what a branch or tag meant then is written beside it. Nothing is asked of the hub afterwards. No torch.
"""

import hashlib
import http.client
import json
import os
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from btworker.checkpoints.download import NETWORK_TIMEOUT_S, FetchError, Wanted, download, locked, reason
from btworker.checkpoints.folder import (
    CARD,
    SETTINGS_FILES,
    NotWhisperError,
    check_config,
    read_json,
    shards_of,
    weights_among,
)
from btworker.checkpoints.hashing import BLOCK_BYTES, Progress, file_sha256

HUB = "https://huggingface.co"
FOLDER = "hf"
"""In the cache of models."""
MANIFEST = "fetched.json"
"""In a fetched folder: where its files are from, and their hashes."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*){0,3}")
COMMIT = re.compile(r"[0-9a-f]{40}")
LARGEST_ANSWER_BYTES = 32 << 20
LOOPBACK = ("127.0.0.1", "localhost")
"""Hosts that a token goes to without https."""
MOST_WAITS = 5
LONGEST_WAIT_S = 60.0
"""For a hub that asks to come again later (429); it mostly says a few seconds."""


@dataclass(frozen=True, slots=True)
class HubModel:
    """A repository at a revision."""

    name: str
    """owner/name"""
    revision: str = "main"

    @classmethod
    def parse(cls, text: str) -> "HubModel":
        """`hf:owner/name` or `hf:owner/name@revision`. Raises ValueError."""
        name, _, revision = text.removeprefix("hf:").partition("@")
        if not NAME.fullmatch(name) or not REVISION.fullmatch(revision or "main") or ".." in text:
            raise ValueError(f"{text[:100]!r} is not hf:owner/name or hf:owner/name@revision")
        return cls(name, revision or "main")

    def __str__(self) -> str:
        return f"hf:{self.name}" + (f"@{self.revision}" if self.revision != "main" else "")

    def folder(self, cache: Path) -> Path:
        """Where its files are or will be: of a branch or tag, those of the commit that it meant at the last fetch."""
        place = cache / FOLDER / self.name.replace("/", "--")
        if COMMIT.fullmatch(self.revision):
            return place / self.revision
        try:
            commit = self._mark(place).read_text("ascii").strip()
        except (OSError, ValueError):
            commit = ""
        return place / (commit if COMMIT.fullmatch(commit) else self._mark(place).name)

    def remember(self, cache: Path, commit: str) -> None:
        """Note the commit that the revision means."""
        mark = self._mark(cache / FOLDER / self.name.replace("/", "--"))
        if self.revision != commit:
            part = mark.with_suffix(".part")
            part.write_text(f"{commit}\n")
            os.replace(part, mark)

    def _mark(self, place: Path) -> Path:
        return place / f"{self.revision.replace('/', '--')}.ref"


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository."""

    name: str
    size_bytes: int
    sha256: str
    """Of what Git LFS keeps; empty for others."""
    git_sha1: str
    """Of the others, as git hashes them."""

    def is_right(self, path: Path) -> bool:
        """Whether the file at that path is it."""
        if path.stat().st_size != self.size_bytes:
            return False
        return file_sha256(path) == self.sha256 if self.sha256 else _git_sha1(path) == self.git_sha1


@dataclass(frozen=True)
class Hub:
    """A hub, and who asks it."""

    address: str = HUB
    """Without a slash at its end."""
    token: str | None = field(default=None, repr=False)

    def fetch(self, model: HubModel, cache: Path, progress: Progress = lambda _done, _total: None) -> Path:
        """Download a model unless it is there; return its folder. Raises FetchError."""
        commit, files = self._listing(model)
        folder = HubModel(model.name, commit).folder(cache)
        part = folder.with_name(f"{commit}.part")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_name(f"{commit}.lock"), lambda: progress(0, None)):
            if folder.is_dir() and damaged(folder):
                os.rename(folder, part)
            if not folder.is_dir():
                part.mkdir(exist_ok=True)
                self._fill(model, commit, files, part, progress)
                _write_manifest(part, model, commit, files)
                os.rename(part, folder)
            model.remember(cache, commit)
        return folder

    def _fill(
        self, model: HubModel, commit: str, files: Mapping[str, HubFile], folder: Path, progress: Progress
    ) -> None:
        """Download what counts: first what shows whether it is a Whisper, then the weights."""
        base = f"{self.address}/{model.name}/resolve/{commit}/"

        def get(name: str, progress: Progress = lambda _done, _total: None) -> None:
            if name not in files:
                raise FetchError(f"it lacks {name}")
            file, wanted = files[name], Wanted(base + urllib.parse.quote(name), files[name].is_right, self.open)
            try:
                download(wanted, folder / name, progress)
            except FetchError as error:
                raise type(error)(f"{name}: {error}") from error
            progress(file.size_bytes, file.size_bytes)

        try:
            for name in filter(files.__contains__, (CARD, *SETTINGS_FILES)):
                get(name)
            weights, index = weights_among(files)
            if index:
                get(index)
                weights = shards_of(read_json(folder / index))
            check_config(read_json(folder / "config.json"), is_ctranslate2=weights == ("model.bin",))
        except NotWhisperError as error:
            raise FetchError(f"it {error}") from error
        _check_room(folder, sum(files[name].size_bytes for name in weights if name in files))
        for name in weights:
            get(name, progress)

    def _listing(self, model: HubModel) -> tuple[str, dict[str, HubFile]]:
        """Ask which commit the revision is, and what is in it."""
        revision = urllib.parse.quote(model.revision, safe="")
        request = urllib.request.Request(f"{self.address}/api/models/{model.name}/revision/{revision}?blobs=true")  # noqa: S310
        try:
            with self.open(request, timeout=NETWORK_TIMEOUT_S) as answer:
                about = json.loads(answer.read(LARGEST_ANSWER_BYTES))
            commit = str(about["sha"])
            files = {file.name: file for file in map(_file, about["siblings"])}
        except (OSError, http.client.HTTPException) as error:
            raise FetchError(
                f"{self.address} cannot be reached ({reason(error)}); where this machine has no way there, HF_ENDPOINT "
                "names a mirror, or the model's folder is copied from a machine that has one, and given by its path"
            ) from error
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise FetchError("the hub's answer is not what a hub answers") from error
        if not COMMIT.fullmatch(commit):
            raise FetchError("the hub's answer names no commit")
        return commit, files

    def open(self, request: urllib.request.Request, *, timeout: float) -> http.client.HTTPResponse:
        """Send a request, with the token where there is one; waits where the hub asks for that. Raises FetchError,
        OSError."""
        if self.token and (request.type == "https" or request.host.partition(":")[0] in LOOPBACK):
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        for _ in range(MOST_WAITS):
            try:
                answer: http.client.HTTPResponse = OPENER.open(request, timeout=timeout)
                return answer
            except urllib.error.HTTPError as error:
                error.close()
                if error.code != http.client.TOO_MANY_REQUESTS:
                    raise self._explained(error) from error
                wait = error.headers.get("Retry-After", "")
                time.sleep(min(float(wait) if wait.isdecimal() else LONGEST_WAIT_S / 4, LONGEST_WAIT_S))
        raise FetchError("the hub goes on answering that it has too many requests (429); try again later")

    def _explained(self, error: urllib.error.HTTPError) -> Exception:
        """Tell what to do about an error of the hub's."""
        code = error.headers.get("X-Error-Code", "")
        if code == "GatedRepo" or error.code == http.client.FORBIDDEN:
            more = "with the account that HF_TOKEN is of" if self.token else "and set HF_TOKEN"
            return FetchError(f"accept the conditions of its owner on the hub, {more} ({error.code})")
        if error.code == http.client.UNAUTHORIZED:
            more = "or HF_TOKEN may not read it" if self.token else "or it is private and needs HF_TOKEN"
            return FetchError(f"the hub has no such repository, {more} (401)")
        if error.code == http.client.NOT_FOUND:
            what = "revision" if code == "RevisionNotFound" else "file" if code == "EntryNotFound" else "repository"
            return FetchError(f"the hub has no such {what} (404)")
        return error


class _KeepTokenAtHome(urllib.request.HTTPRedirectHandler):
    """Follows redirects; the token goes to the hub alone, never to where its files are kept."""

    def redirect_request(self, req: urllib.request.Request, *args: Any) -> urllib.request.Request | None:
        """Make the next request. Raises FetchError where it would leave https."""
        following = super().redirect_request(req, *args)
        if following is not None:
            if req.type == "https" and following.type != "https":
                raise FetchError("the hub sends to an address without https")
            token = req.unredirected_hdrs.get("Authorization")
            if token and (req.type, req.host) == (following.type, following.host):
                following.add_unredirected_header("Authorization", token)
        return following


OPENER = urllib.request.build_opener(_KeepTokenAtHome)


def _file(raw: Mapping[str, Any]) -> HubFile:
    """Read an entry of the hub's listing."""
    kept = raw.get("lfs") or {}
    size = kept.get("size", raw.get("size"))
    return HubFile(str(raw["rfilename"]), int(size or 0), str(kept.get("sha256", "")), str(raw.get("blobId", "")))


def _git_sha1(path: Path) -> str:
    """Hash a file as git does."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _check_room(folder: Path, size_bytes: int) -> None:
    there = sum(path.stat().st_size for path in folder.iterdir())
    free = shutil.disk_usage(folder).free
    if size_bytes - there > free:
        raise FetchError(f"it has {size_bytes >> 20} MB, and {free >> 20} MB are free in {folder.parent}")


def _write_manifest(folder: Path, model: HubModel, commit: str, files: Mapping[str, HubFile]) -> None:
    """Note the hashes: of weights those that they were held to when they came."""
    for path in folder.iterdir():
        if path.suffix in {".lock", ".part"}:
            path.unlink()
    kept = [path for path in sorted(folder.iterdir()) if path.name != MANIFEST]
    known = {name: file.sha256 for name, file in files.items() if file.sha256}
    hashes = {path.name: known.get(path.name) or file_sha256(path) for path in kept}
    about = {"repository": model.name, "revision": model.revision, "commit": commit, "sha256": hashes}
    (folder / MANIFEST).write_text(json.dumps(about, indent=1) + "\n")


def fetched_hashes(folder: Path) -> dict[str, str]:
    """The hashes of a fetched folder's files when they came; none where it was not fetched."""
    try:
        return {Path(name).name: str(sha256) for name, sha256 in read_json(folder / MANIFEST)["sha256"].items()}
    except (NotWhisperError, LookupError, AttributeError, OSError):
        return {}


def damaged(folder: Path, hashes: Mapping[str, str] = MappingProxyType({})) -> str:
    """The name of a file that is missing or not the one that was fetched; empty where there is none. `hashes` are those
    that are known already, by the files' names."""
    for name, sha256 in fetched_hashes(folder).items():
        path = folder / name
        if not path.is_file() or (hashes.get(name) or file_sha256(path)) != sha256:
            return name
    return ""
