"""One process of its own that asks for a token when told to: `ask_for_token.py APP TENANT`, settings on standard input.

Says `ready` when everything is open, waits for a line, then prints a digest of the token that it got.
"""

import asyncio
import hashlib
import json
import sys

from schemas.ids import AppName, TenantId
from schemas.settings import Settings
from tests.support.highlevel import our_side


async def main(app: str, tenant: str) -> None:
    settings = Settings(**json.loads(sys.stdin.readline()))
    async with our_side(settings) as ours:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)
        asked = (ours.tokens.access_token(AppName(app), TenantId(tenant)) for _ in range(20))
        tokens = {token.get_secret_value() for token in await asyncio.gather(*asked)}
    sys.stdout.write(" ".join(hashlib.sha256(token.encode()).hexdigest() for token in tokens) + "\n")


asyncio.run(main(*sys.argv[1:]))
