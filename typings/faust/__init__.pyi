import ssl
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterator, MutableMapping
from typing import Any

class Message:
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None

class Event:
    message: Message

class Stream:
    def events(self) -> AsyncIterable[Event]: ...

class Topic:
    def get_topic_name(self) -> str: ...

class Table(MutableMapping[bytes, bytes]):
    def __getitem__(self, key: bytes, /) -> bytes: ...
    def __setitem__(self, key: bytes, value: bytes, /) -> None: ...
    def __delitem__(self, key: bytes, /) -> None: ...
    def __iter__(self) -> Iterator[bytes]: ...
    def __len__(self) -> int: ...

class TP:
    topic: str
    partition: int

class Consumer:
    def assignment(self) -> set[TP]: ...

class Signal:
    def connect(self, fun: Callable[..., Awaitable[None]]) -> object: ...

class SASLCredentials:
    def __init__(
        self,
        *,
        username: str | None = None,
        password: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        mechanism: str | None = None,
    ) -> None: ...

class SSLCredentials:
    def __init__(self, context: ssl.SSLContext | None = None) -> None: ...

class App:
    on_partitions_revoked: Signal
    crash_reason: BaseException | None
    @property
    def consumer(self) -> Consumer: ...
    def __init__(self, id: str, **settings: Any) -> None: ...  # noqa: A002 - Faust calls it so
    def topic(
        self,
        *topics: str,
        key_serializer: str,
        value_serializer: str,
        allow_empty: bool = False,
    ) -> Topic: ...
    def Table(  # noqa: N802 - Faust calls it so
        self, name: str, *, key_type: type[bytes], value_type: type[bytes], partitions: int
    ) -> Table: ...
    def agent(
        self, channel: Topic, *, name: str
    ) -> Callable[[Callable[[Stream], Coroutine[Any, Any, None]]], object]: ...
    def on_rebalance_end(self) -> None: ...
    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def wait_until_stopped(self) -> None: ...
