"""`python -m splitgauge.cli`."""

from splitgauge.cli.main import main

if __name__ == "__main__":
    main()
