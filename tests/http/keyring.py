"""Keys for tests of what keys may do."""

from typing import Any

from btworker.keys import Scope
from tests.http.server import Running


async def key(server: Running, name: str, *scopes: Scope, **more: Any) -> dict[str, str]:
    """The header of a new key."""
    _, token = await server.service.keys.add(name, scopes or (Scope.SUBMIT, Scope.READ_OWN), **more)
    return {"Authorization": f"Bearer {token}"}
