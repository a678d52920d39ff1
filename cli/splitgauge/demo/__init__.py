"""A whole experiment with real models on one machine, from request to replay."""

from splitgauge.demo.run import EXIT_BROKEN, EXIT_HELD, EXIT_INTERRUPTED, run

__all__ = ["EXIT_BROKEN", "EXIT_HELD", "EXIT_INTERRUPTED", "run"]
