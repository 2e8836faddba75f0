"""The product with a watch on its loop, as a process: `python -m bench.watched FILE serve …`.

A timer asks to be called every 2 ms; how late it is called shows how long something else had the loop, or the machine.
FILE holds the worst so far, in milliseconds of the loop and of the processor.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

EVERY = 0.002


async def watch(file: Path) -> None:
    loop, worst = asyncio.get_running_loop(), 0.0
    while True:
        wanted, used = loop.time() + EVERY, time.thread_time()
        await asyncio.sleep(EVERY)
        late, busy = loop.time() - wanted, time.thread_time() - used
        # Late without processor time of our own means that another process had the processor, or a thread the GIL.
        if late > worst:
            worst = late
            _note(file, late, busy)


def _note(file: Path, late: float, busy: float) -> None:
    file.write_text(f"{late * 1000.0:.3f} {busy * 1000.0:.3f}", encoding="ascii")


def main() -> None:
    from wa_relay import daemon
    from wa_relay.cli import main as command

    file, serve = Path(sys.argv[1]), daemon.serve

    async def watched(config: Any, ready: Callable[[Any], None]) -> None:
        def up(listens: Any) -> None:
            ready(listens)
            tasks.append(asyncio.create_task(watch(file)))

        tasks: list[Awaitable[None]] = []
        await serve(config, up)

    daemon.serve = watched
    sys.argv = ["wa-relay", *sys.argv[2:]]
    command()


if __name__ == "__main__":
    main()
