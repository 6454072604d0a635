"""Start an import over NATS and print its last event. Written with nothing but nats-py, as any language could.

    python examples/subscriber.py users.csv acme nats://127.0.0.1:4222

Without a URL, HAULAGE_NATS_URL is taken; `haulage status --json` prints the one of embedded servers.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import nats
from nats.aio.client import Client
from nats.errors import NoRespondersError, TimeoutError

TENANT, ACTOR = "default", "example"
ENDS = {f"operation.{how}.v1" for how in ("completed", "failed", "cancelled", "rolled_back", "needs_attention")}


async def request(bus: Client, verb: str, command: dict[str, Any]) -> Any:
    """Send a command until it is answered. The command's id makes a repeat harmless."""
    while True:
        try:
            subject = f"haulage.v1.command.{TENANT}.{ACTOR}.{verb}"
            return json.loads((await bus.request(subject, json.dumps(command).encode(), timeout=5)).data)
        except (NoRespondersError, TimeoutError):
            await asyncio.sleep(1)


async def main(file: str, organization: str, url: str) -> None:
    """Import `file` and wait for the end."""
    bus = await nats.connect(url)
    # We choose the operation's id, so we can listen before it begins. The stream keeps what we are too late for.
    operation = str(uuid4())
    events = await bus.jetstream().subscribe(
        f"haulage.v1.event.{TENANT}.import-users.{operation}.>", stream="haulage-events", ordered_consumer=True
    )
    command = {
        "command_id": str(uuid4()),
        "operation": operation,
        "kind": "import-users",
        "parameters": {"organization": organization},
        "input": {"path": str(Path(file).absolute())},
    }
    reply = await request(bus, "start", command)
    if not reply["ok"]:
        sys.exit(reply["message"])
    seen = 0
    async for message in events.messages:
        # Events come in their order and at least once: one we have seen comes with a position we have seen.
        position = int(message.headers["Haulage-Position"])
        if position <= seen:
            continue
        seen = position
        if message.headers["ce-type"] in ENDS:
            print(json.dumps(json.loads(message.data), indent=2))
            break
    await bus.close()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    asyncio.run(
        main(*sys.argv[1:3], url=(sys.argv[3:] or [os.environ.get("HAULAGE_NATS_URL", "nats://127.0.0.1:4222")])[0])
    )
