"""How the command line starts: with next to nothing, so that help and version come at once."""

import subprocess
import sys

HEAVY = {
    "aiohttp",
    "aiokafka",
    "apsw",
    "asyncpg",
    "fastapi",
    "faust",
    "numpy",
    "pydantic_settings",
    "scipy",
    "uvicorn",
    "yaml",
}


def test_the_command_line_is_put_together_without_engines_servers_and_mathematics() -> None:
    script = "import sys; from splitgauge.cli.application import application; application(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(loaded.stdout.split()) & HEAVY == set()
