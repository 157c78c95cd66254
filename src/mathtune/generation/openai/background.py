"""Asynchronous work behind an ordinary iterator."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


def iterate_in_thread(
    run: Callable[[Callable[[T], None]], Coroutine[Any, Any, None]],
) -> Iterator[T]:
    """Yield what a coroutine puts, as it comes, while it runs in another thread's event loop.

    It goes on while the caller is busy with an item, and works even if a loop is running in the
    caller's thread, as in a notebook. Closing the iterator cancels it.

    Args:
        run: Given a function to put items with, returns the coroutine. What it raises is raised
            here, after the items that were put before.
    """
    arrived: queue.SimpleQueue[_Item[T] | BaseException | None] = queue.SimpleQueue()
    loop = asyncio.new_event_loop()
    task = loop.create_task(run(lambda value: arrived.put(_Item(value))))

    def work() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            arrived.put(None)  # the iterator was closed
        except BaseException as error:  # passed on to the caller's thread
            arrived.put(error)
        else:
            arrived.put(None)
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    thread = threading.Thread(target=work, name="mathtune-requests", daemon=True)
    thread.start()
    try:
        while (item := arrived.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item.value
    finally:
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            loop.call_soon_threadsafe(task.cancel)
        thread.join()


class _Item(Generic[T]):
    """Distinguishes an item from the end and from an error."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value
