"""Saying why a part of the router ended: nothing that runs in the background may stop in silence."""

import asyncio
import logging

__all__ = ["say_why"]

_logger = logging.getLogger(__name__)


def say_why(task: "asyncio.Task[None]") -> None:
    """For `add_done_callback`: log the error that ended the task, if one did."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _logger.error("%s has failed", task.get_name(), exc_info=error)
