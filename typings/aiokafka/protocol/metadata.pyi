from typing import Any

from aiokafka.protocol.api import Request

class MetadataRequest(Request[Any]):
    def __init__(self, topics: list[str] | None = None) -> None: ...
    def build(self, request_struct_class: Any) -> Any: ...
