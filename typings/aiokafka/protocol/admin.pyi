from typing import Any

from aiokafka.protocol.api import Request

class ApiVersionRequest(Request[Any]):
    def build(self, request_struct_class: Any) -> Any: ...
