"""Stored voices: the names and embeddings of people whom jobs may know. Parent.

    <data>/voices/<id>.json     one each, durable before anybody is answered; no sound

A job takes a copy of those that it names, so that a voice can be deleted while jobs wait.
"""

import json
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from btworker.config import Settings
from btworker.durable import publish, sync_folder, write_durably
from btworker.errors import BtworkerError, ErrorCode
from btworker.job_folder import JobFolder
from btworker.keys import OPERATOR
from btworker.logs import get_logger
from btworker.stems import looks_like
from btworker.storage import VOICES, DataFolder
from btworker.voices import Voice

log = get_logger()


@dataclass(frozen=True, slots=True)
class StoredVoice:
    """One of them. `created_at` is seconds since the epoch."""

    id: str
    name: str
    created_at: float
    voice: Voice
    owner: str = OPERATOR
    """Id of the key that stored it; the name is its own among those of this owner."""


class Voices:
    """All of a data folder's, in memory as well: each has a few hundred numbers. Methods block, for a moment."""

    def __init__(self, data: DataFolder, settings: Settings) -> None:
        self._root = data.root / VOICES
        self._limit = settings.voices_limit
        self._known: dict[str, StoredVoice] = {}
        self._lock = threading.Lock()
        self._load()

    def _load(self) -> None:
        for part in self._root.glob("*.part"):  # of a worker that was killed: no client knows of it
            part.unlink(missing_ok=True)
        for path in sorted(self._root.glob("vo_*.json")):
            try:
                raw = path.read_bytes()
                shape, voice = json.loads(raw), Voice.from_json(raw)
                name, owner = str(shape["name"]), str(shape.get("owner", OPERATOR))
                self._known[path.stem] = StoredVoice(path.stem, name, float(shape["createdAt"]), voice, owner)
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("voice_unreadable", path=str(path), error=type(error).__name__)

    def all(self, owner: str | None = None) -> list[StoredVoice]:
        """Those of one owner, or of all, in the order in which they were stored."""
        found = (one for one in self._known.values() if owner in (None, one.owner))
        return sorted(found, key=lambda one: one.created_at)

    def owner_of(self, voice_id: str) -> str | None:
        """Whose a voice is; None where there is none."""
        stored = self._known.get(voice_id)
        return None if stored is None else stored.owner

    def named(self, name: str, owner: str = OPERATOR) -> StoredVoice | None:
        """The owner's voice of a name."""
        return next((one for one in self._known.values() if (one.name, one.owner) == (name, owner)), None)

    def check_new(self, name: str, owner: str) -> None:
        """Raise CONFLICT where the owner has a voice of this name, or of one that looks like it, or of as many as are
        taken."""
        own = self.all(owner)
        if any(looks_like(one.name) == looks_like(name) for one in own):
            raise BtworkerError(ErrorCode.CONFLICT, f"there is a voice of the name {name!r}; delete it first")
        if len(own) >= self._limit:
            message = f"{len(own)} voices are stored already (WORKER_VOICES_LIMIT); delete one first"
            raise BtworkerError(ErrorCode.CONFLICT, message)

    def add(self, name: str, voice: Voice, owner: str = OPERATOR) -> StoredVoice:
        """Store one, durably. Raises CONFLICT, OSError."""
        with self._lock:
            self.check_new(name, owner)
            return self._store(StoredVoice(f"vo_{secrets.token_hex(8)}", name, time.time(), voice, owner))

    def _store(self, stored: StoredVoice) -> StoredVoice:
        self._root.mkdir(exist_ok=True, mode=0o750)
        part = self._root / f"{stored.id}.part"
        write_durably(part, _body(stored))
        publish(part, self._path(stored.id))
        sync_folder(self._root.parent)
        self._known[stored.id] = stored
        log.info("voice_stored", voiceId=stored.id)
        return stored

    def remove(self, voice_id: str) -> None:
        """Delete one, durably. Raises NOT_FOUND."""
        if voice_id not in self._known:
            raise BtworkerError(ErrorCode.NOT_FOUND, "there is no such voice")
        self._path(voice_id).unlink(missing_ok=True)
        sync_folder(self._root)
        del self._known[voice_id]
        log.info("voice_deleted", voiceId=voice_id)

    def lend(self, names: Sequence[str], folder: JobFolder, owner: str = OPERATOR) -> list[str]:
        """Copy an owner's voices to a job's folder, durably; the SHA-256 of each, in hex. Raises NOT_FOUND, OSError."""
        hashes = []
        for number, name in enumerate(names):
            stored = self.named(name, owner)
            if stored is None:
                raise BtworkerError(ErrorCode.NOT_FOUND, f"the voice {name!r} was deleted meanwhile")
            hashes.append(write_durably(folder.reference(number, stored=True), stored.voice.to_json()))
        if hashes:
            sync_folder(folder.inputs)
        return hashes

    def _path(self, voice_id: str) -> Path:
        return self._root / f"{voice_id}.json"


def _body(stored: StoredVoice) -> bytes:
    about = {"id": stored.id, "name": stored.name, "createdAt": stored.created_at, "owner": stored.owner}
    return json.dumps({**about, **json.loads(stored.voice.to_json())}).encode()
