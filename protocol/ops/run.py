"""The life of a process: event loop, signals, owned tasks, exit code.

    def run(config, path) -> int:
        return process.run(partial(serve, config, path))

    async def serve(config, path, process):
        ...start everything...
        process.reporter.start(status, fault)
        process.on_reload(reload)
        tune_gc()
        await process.stop.wait()
        process.reporter.stopping(drain_timeout)
        ...drain, then close everything, each step bounded...

SIGTERM and SIGINT set `stop`, a second SIGINT ends the process at once, SIGHUP asks for a reload.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import uvloop

from protocol.ops import log
from protocol.ops.notify import Notifier, Reporter
from protocol.ops.sockets import StartError

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_BAD_CONFIG: Final = 2
EXIT_INTERRUPTED: Final = 130

TASKS_PATIENCE: Final = 5.0
"""Seconds that cancelled tasks get to end."""

_log = log.get("process")

Reload = Callable[[], Awaitable[None] | None]


class Process:
    """What the main coroutine gets. All methods belong to the event loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.stop: Final = asyncio.Event()
        """Set when the process shall end."""
        self.unexpected = 0
        """Exceptions nobody expected so far: a metric that should stay 0."""
        self.reporter: Final = Reporter(Notifier.from_environment(), loop)
        """What the service manager is told, where one started this process."""
        self._loop = loop
        self._tasks: set[asyncio.Task[Any]] = set()
        self._reload: Reload | None = None
        self._reload_asked = False
        self._reloading: asyncio.Task[Any] | None = None
        self._interrupts = 0
        loop.set_exception_handler(self._on_exception)
        for number, handler in self._handlers().items():
            loop.add_signal_handler(number, handler)

    def on_reload(self, reload: Reload) -> None:
        """Call (and await) `reload` for SIGHUP, one at a time; one that came earlier counts. It reports itself."""
        self._reload = reload
        if self._reload_asked:
            self._start_reload()

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run `work` in the background until the process ends. A failure is logged; nothing restarts it."""
        task = self._loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    async def close(self) -> None:
        """Cancel what `spawn` started and wait for it, in at most TASKS_PATIENCE seconds."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            _, late = await asyncio.wait(set(self._tasks), timeout=TASKS_PATIENCE)
            for task in late:
                _log.error("a task did not end", task=task.get_name())
        for number in self._handlers():
            self._loop.remove_signal_handler(number)
        self.reporter.close()

    def _handlers(self) -> dict[int, Callable[[], None]]:
        return {
            signal.SIGTERM: self._on_terminate,
            signal.SIGINT: self._on_interrupt,
            signal.SIGHUP: self._on_hangup,
        }

    def _on_terminate(self) -> None:
        if not self.stop.is_set():
            _log.info("stopping", signal="SIGTERM")
        self.stop.set()

    def _on_interrupt(self) -> None:
        self._interrupts += 1
        if self._interrupts > 1:
            os._exit(EXIT_INTERRUPTED)
        _log.info("stopping; interrupt again to end at once", signal="SIGINT")
        self.stop.set()

    def _on_hangup(self) -> None:
        self._reload_asked = True
        if self._reload is not None and self._reloading is None:
            self._start_reload()

    def _start_reload(self) -> None:
        self._reload_asked = False
        self._reloading = self.spawn(self._run_reload(), "reload")

    async def _run_reload(self) -> None:
        assert self._reload is not None
        self.reporter.reloading()
        try:
            result = self._reload()
            if inspect.isawaitable(result):
                await result
        finally:
            self._reloading = None
            if not self.stop.is_set():
                self.reporter.reloaded()
            if self._reload_asked and not self.stop.is_set():
                self._start_reload()

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._report("a task failed", error, task=task.get_name())

    def _on_exception(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._report(str(context.get("message", "unexpected error")), context.get("exception"))

    def _report(self, message: str, error: BaseException | None, **values: Any) -> None:
        self.unexpected += 1
        _log.error(message, exc_info=error, **values)


def run(main: Callable[[Process], Awaitable[None]]) -> int:
    """Run `main` in a new uvloop until it returns; the process's exit code.

    StartError is logged as one line, any other exception with its traceback; both give EXIT_FAILED.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_guarded(main))


async def _guarded(main: Callable[[Process], Awaitable[None]]) -> int:
    process = Process(asyncio.get_running_loop())
    try:
        await main(process)
    except StartError as error:
        _log.error("cannot start", reason=str(error))
        return EXIT_FAILED
    except Exception:
        _log.exception("unexpected error")
        return EXIT_FAILED
    finally:
        await process.close()
    return EXIT_OK


def settle_gc() -> None:
    """What exists now will live long: take it out of later scans. Costs nothing.

    A thousand sessions are a hundred thousand objects; the scans that find them all alive would stop every request
    for tens of milliseconds. Cycles that are garbage by now are kept, until `clean_gc`.
    """
    gc.freeze()


def clean_gc() -> None:
    """Look for garbage among everything. Stops the program for up to 0.1 s, so do it when nobody waits."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def tune_gc() -> None:
    """Make cyclic garbage collection rare and cheap. Call once everything is started.

    What exists now lives as long as the process, so it is taken out of every later scan (`gc.freeze`). The hot
    path makes few cycles, but 700 live allocations (Python's default threshold) pass in some milliseconds under
    load, and each scan would stop every request.
    """
    gc.enable()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
