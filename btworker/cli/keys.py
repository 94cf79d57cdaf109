"""`btworker keys list|add|set|revoke`: who may call this machine's worker, whether it runs or not."""

import argparse
import asyncio
import math
import re
import sys
import time
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.table import Table

from btworker import logs
from btworker.cli.backup import add_data_argument
from btworker.cli.connection import EXIT_JOB_FAILED, report
from btworker.cli.restore import check_owner
from btworker.cli.tables import print_table
from btworker.config import data_dir
from btworker.control import NoAnswerError, ask
from btworker.errors import EXIT_DATA_FOLDER, StartupError
from btworker.keys import DEFAULT_SCOPES, LEAST_WEIGHT, MOST_WEIGHT, Scope
from btworker.specs import LogSettings
from btworker.storage import DataFolder

EXAMPLES = """\
examples:
  btworker keys add alice                  submits, and reads what it submitted
  btworker keys add nightly --scopes submit --expires 90d
  btworker keys add grafana --scopes metrics
  btworker keys set alice --weight 2 --max-waiting 100
  btworker keys revoke alice
"""
ANSWER_S = 30.0
_PERIOD = re.compile(r"([0-9]{1,5})([hdw])")
_SECONDS = {"h": 3600, "d": 86_400, "w": 7 * 86_400}
LIMITS: dict[str, tuple[str, type[int] | type[float], str]] = {
    "max-waiting": ("waiting", int, "jobs that wait at once"),
    "max-stored-mb": ("stored_mb", int, "MB of results and inputs"),
    "audio-hours-a-day": ("audio_hours", float, "hours of audio a day (UTC)"),
    "requests-a-minute": ("requests", int, "requests a minute"),
}
"""Option -> field of keys.Limits, what it takes, and its help."""
EXPIRES = "90d, 12h, 2w, or a day in UTC like 2027-01-31"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Four actions."""
    parser = subparsers.add_parser(
        "keys",
        description="Look after the keys of this machine's worker, which may run or not. Each key has jobs of its own; "
        "WORKER_TOKEN may do everything.",
        epilog=EXAMPLES,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _action(actions, "list", "list all keys, without their tokens", list_keys)
    adding = _action(actions, "add", "make a key, and print its token, this once", add_key)
    adding.add_argument("name", metavar="NAME", help="whose it is: it stands in lists, logs and accounts")
    names = ", ".join(scope.value for scope in Scope)
    usual = ",".join(sorted(scope.value for scope in DEFAULT_SCOPES))
    adding.add_argument("--scopes", type=_scopes, default=usual, metavar="LIST", help=f"of {names} ({usual})")
    adding.add_argument("--expires", type=_moment, metavar="WHEN", help=f"{EXPIRES} (never)")
    _add_limits(adding)
    changing = _action(actions, "set", "give a key another weight or other limits", set_key)
    changing.add_argument("name", metavar="NAME", help="a name, or an id")
    _add_limits(changing)
    _action(actions, "revoke", "end a key at once; its jobs stay", revoke_key).add_argument(
        "name", metavar="NAME", help="a name, or an id"
    )


def _action(actions: Any, name: str, text: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=f"{text.capitalize()}.")
    add_data_argument(parser)
    parser.set_defaults(run=run)
    return parser


def _add_limits(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("shares and limits, of which `none` lifts one")
    group.add_argument("--weight", type=_weight, metavar="N", help="2: twice the audio of others that wait (1)")
    for name, (field, kind, text) in LIMITS.items():
        group.add_argument(
            f"--{name}", dest=field, type=_limit(kind), default=argparse.SUPPRESS, metavar="N", help=text
        )


def list_keys(args: argparse.Namespace) -> int:
    """Print a table."""
    found = _ask(args, {"do": "list"})["keys"]
    if found:
        print_table(table(found), fitted=False)
    else:
        report("no keys; `btworker keys add NAME` makes one")
    return 0


def table(keys: Iterable[dict[str, Any]]) -> Table:
    """A row for each key."""
    rows = Table(box=None, pad_edge=False)
    for column in ("id", "name", "scopes", "weight", "limits", "made", "expires", "state"):
        rows.add_column(column)
    for key in keys:
        times = (_day(key["createdAt"]), _day(key["expiresAt"]))
        shares = (f"{key['weight']:g}", _limits_of(key) or "none")
        rows.add_row(key["id"], key["name"], ",".join(key["scopes"]), *shares, *times, key["state"])
    return rows


def add_key(args: argparse.Namespace) -> int:
    """Print the token alone on stdout, for scripts."""
    scopes = sorted(scope.value for scope in args.scopes)
    wanted = {"name": args.name, "scopes": scopes, "expiresAt": args.expires, **_shares(args)}
    answer = _ask(args, {"do": "add", **wanted})
    report(f"this is the token of {args.name}; it is kept nowhere, so it cannot be shown again")
    print(answer["token"])
    return 0


def set_key(args: argparse.Namespace) -> int:
    """Say what the key has now."""
    key = _ask(args, {"do": "set", "name": args.name, **_shares(args)})["keys"][0]
    report(f"{key['name']} ({key['id']}): weight {key['weight']:g}; {_limits_of(key) or 'no limits'}")
    return 0


def _shares(args: argparse.Namespace) -> dict[str, Any]:
    given = vars(args)
    limits = {field: given[field] for field, _, _ in LIMITS.values() if field in given}
    return {"weight": args.weight, "limits": limits}


def _limits_of(key: dict[str, Any]) -> str:
    named = {field: name for name, (field, _, _) in LIMITS.items()}
    return ", ".join(f"{named[field]} {value:g}" for field, value in key["limits"].items() if value is not None)


def revoke_key(args: argparse.Namespace) -> int:
    """Say which key it was."""
    key = _ask(args, {"do": "revoke", "name": args.name})["keys"][0]
    report(f"{key['name']} ({key['id']}) is revoked; its jobs are still there, for WORKER_TOKEN")
    return 0


def _ask(args: argparse.Namespace, request: dict[str, Any]) -> dict[str, Any]:
    """What the keys answer, those of the running worker where there is one. Raises StartupError, SystemExit."""
    root = data_dir(args.data)
    _look_at(root, is_made=request["do"] == "add")
    try:
        data = DataFolder.open(root)
    except StartupError as in_use:
        answer = _ask_worker(root, request, in_use)
    else:
        try:
            check_owner(root, "keys …")
            answer = asyncio.run(_answer(data, request))
        finally:
            data.close()
    if "error" in answer:
        report(str(answer["error"]))
        sys.exit(EXIT_JOB_FAILED)
    return answer


def _look_at(root: Path, *, is_made: bool) -> None:
    """Say where no worker has run yet: the folder may be a slip. Raises StartupError unless it is to be made."""
    if root.exists():
        return
    if not is_made:
        message = f"there is no data folder {root}; --data (or WORKER_DATA_DIR) has to be the worker's"
        raise StartupError(message, exit_code=EXIT_DATA_FOLDER)
    report(f"no worker has run with {root} yet: the key is good for one that gets this folder (WORKER_DATA_DIR)")


def _ask_worker(root: Path, request: dict[str, Any], in_use: StartupError) -> dict[str, Any]:
    try:
        return ask(root, "keys", request, timeout_s=ANSWER_S)
    except NoAnswerError as error:
        message = f"{in_use.message.split(';')[0]}, which does not answer ({error}): stop it, then try again"
        raise StartupError(message, exit_code=EXIT_DATA_FOLDER) from None


async def _answer(data: DataFolder, request: dict[str, Any]) -> dict[str, Any]:
    """The same without a worker."""
    from btworker.service.audit import AuditLog
    from btworker.service.keys import Keys
    from btworker.store import Store

    logs.set_up(LogSettings("error", json=False))
    store = Store.open(data.database)
    try:
        audit = AuditLog(data.root / "audit", most_mb=math.inf, files=1)
        keys = Keys(store, (), audit=audit)
        await keys.load()
        answer = await keys.answer(request)
        audit.close()
        return answer
    finally:
        await store.close()


def _scopes(text: str) -> frozenset[Scope]:
    try:
        return frozenset(Scope(word.strip()) for word in text.split(","))
    except ValueError:
        message = f"must be one or more of {', '.join(scope.value for scope in Scope)}, with commas between them"
        raise argparse.ArgumentTypeError(message) from None


def _moment(text: str) -> float:
    """Seconds since the epoch of the end of a period from now on, or of a day's beginning."""
    if found := _PERIOD.fullmatch(text.strip().lower()):
        return time.time() + int(found[1]) * _SECONDS[found[2]]
    try:
        return datetime.strptime(text.strip(), "%Y-%m-%d").replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be {EXPIRES}") from None


def _limit(kind: type[int] | type[float]) -> Any:
    def read(text: str) -> float | None:
        if text.strip().lower() == "none":
            return None
        try:
            value = kind(text)
        except ValueError:
            value = -1
        if not 0 <= value < math.inf:
            what = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"must be {what}, 0 or more, or none")
        return value

    return read


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = 0.0
    if not LEAST_WEIGHT <= weight <= MOST_WEIGHT:
        raise argparse.ArgumentTypeError(f"must be a number from {LEAST_WEIGHT} to {MOST_WEIGHT}")
    return weight


def _day(moment: float | None) -> str:
    return "never" if moment is None else datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%d %H:%M")
