import asyncio
from collections.abc import Awaitable, Callable

class AIOKafkaClient:
    _get_conn: Callable[..., Awaitable[object]]
    _maybe_wait_metadata: Callable[..., Awaitable[object]]
    _get_conn_lock: asyncio.Lock
    async def close(self) -> None: ...
