"""Where the process begins. Imports next to nothing, so that Ctrl-C is met cleanly from the first moment on."""

import sys

__all__ = ["main"]

EXIT_INTERRUPTED = 130


def main() -> None:
    """Run the command line and end the process with its exit status."""
    try:
        from splitgauge.cli.application import application
        from splitgauge.cli.process_log import log_to_stderr

        log_to_stderr()
        application()()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
