"""The HTTP API, and what people see and steer with."""
