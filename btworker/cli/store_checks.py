"""The doctor's look at the operator's stores: the file, and whether each bucket answers with these credentials."""

import asyncio
import stat
from collections.abc import Coroutine, Iterator

from btworker.cli.checks import Check, Verdict
from btworker.config import Settings
from btworker.config.stores import Stores, load_stores
from btworker.locations import S3Prefix

PATIENCE_S = 10.0


def store_checks(settings: Settings) -> Iterator[Check]:
    """Nothing where there are no stores; a mistake in the file is one of the settings."""
    if settings.stores_file is None:
        return
    stores = load_stores(settings.stores_file)
    if settings.stores_file.stat().st_mode & stat.S_IRWXO:
        found = f"{settings.stores_file} can be read by everybody on this machine, and holds credentials"
        yield Check("stores", Verdict.WARN, found, f"chmod o= {settings.stores_file}")
    else:
        yield Check("stores", Verdict.OK, f"{', '.join(stores) or 'none'} in {settings.stores_file}")
    yield from asyncio.run(_asked(stores, settings.fleet_folder))


async def _asked(stores: Stores, fleet: S3Prefix | None) -> list[Check]:
    from btworker.delivery.buckets import Buckets

    buckets = Buckets(stores, user_agent="btworker doctor", idle_s=PATIENCE_S)
    places = [(name, bucket) for name, store in stores.items() for bucket in store.buckets]
    places += [] if fleet is None or (fleet.store, fleet.bucket) in places else [(fleet.store, fleet.bucket)]
    return list(await asyncio.gather(*(_ask(buckets.probe(name, bucket), name, bucket) for name, bucket in places)))


async def _ask(probe: Coroutine[None, None, None], name: str, bucket: str) -> Check:
    from btworker.delivery.buckets import StoreRefusedError, Trouble

    what = f"store {name}"
    try:
        await asyncio.wait_for(probe, PATIENCE_S)
    except asyncio.TimeoutError:
        return Check(what, Verdict.FAIL, f"{bucket}: no answer within {PATIENCE_S:.0f} s", "see its endpoint")
    except StoreRefusedError as error:
        if error.trouble is not Trouble.DENIED:
            return Check(what, Verdict.FAIL, f"{bucket}: {error}", "see its endpoint and region")
        found = f"{bucket}: it refuses to say whether an object is there"
        mend = "well where these credentials may not list the bucket (s3:ListBucket); else they are wrong"
        return Check(what, Verdict.WARN, found, mend)
    return Check(what, Verdict.OK, f"{bucket} answers")
