"""What goes wrong is one line and an exit status, never a traceback."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli_harness import CommandLine

WORKLOAD = "kind: workload\nid: 1\nprovider: webhook\nurl: http://127.0.0.1:9/\n"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def answering(body: bytes) -> Generator[str]:
    """A web server that answers one request with this JSON."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(head + body)
            # A request may come in two pieces: closing before both are read would reset the connection.
            while connection.recv(65_536):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.join()


def test_nobody_listens(alone: CommandLine) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    run = alone.run("workloads", "list", "--url", url)

    assert (run.status, run.out) == (4, "")
    assert run.err == (
        f"error: no server answers: connection refused. {url}. "
        "Start `splitgauge up` or a cluster's console, or name another with --url or SPLITGAUGE_URL.\n"
    )


@pytest.mark.parametrize("url", ["localhost:8080", "http://", "http://host:port"])
def test_url_that_is_none(alone: CommandLine, url: str) -> None:
    run = alone.run("experiments", "list", "--url", url)
    assert (run.status, run.err[:6]) == (1, "error:")


def test_something_else_listens(alone: CommandLine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = alone.start("workloads", "list", "--url", f"http://127.0.0.1:{listener.getsockname()[1]}")
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(b"SSH-2.0-OpenSSH\r\n")
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err.count("\n")) == (4, "", 1)
    assert err.startswith("error: no server answers")


@pytest.mark.parametrize("body", [b'{"message":"hello"}', b"[]", b"null"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["workloads", "list"],
        ["workloads", "list", "--json"],
        ["workloads", "delete", "x"],
        ["experiments", "show", "x"],
        ["experiments", "results", "x"],
        ["experiments", "results", "x", "--json"],
        ["experiments", "pause", "x"],
        ["experiments", "confirm", "x"],
        ["apply", "-f", "f.yaml"],
    ],
    ids=" ".join,
)
def test_server_of_something_else_is_named(alone: CommandLine, arguments: list[str], body: bytes) -> None:
    (alone.folder / "f.yaml").write_text(WORKLOAD)
    with answering(body) as url:
        run = alone.run(*arguments, "--url", url)

    assert (run.status, run.out, run.err.count("\n")) == (4, "", 1)
    for words in ("what answers is not a Splitgauge server", url, "Name the address that `splitgauge up` printed"):
        assert words in run.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["workloads", "show"],
        ["tail"],
        ["workloads", "show", ""],
        ["workloads", "delete", ""],
        ["experiments", "show", ""],
        ["experiments", "results", ""],
        ["experiments", "pause", ""],
        ["up", "--port", "x"],
        ["up", "--port", "99999"],
        ["up", "--port", "-1"],
        ["apply"],
        ["tail", "decisions", "-n", "-1"],
    ],
    ids=" ".join,
)
def test_wrong_command_line(alone: CommandLine, arguments: list[str]) -> None:
    run = alone.run(*arguments)
    assert (run.status, run.out) == (2, "")
    assert "Usage: splitgauge" in run.err


def test_help_documents_the_exit_statuses(alone: CommandLine) -> None:
    run = alone.run("--help")
    assert run.status == 0
    for status in ("0 done", "1 failed", "2 the command line", "3 the server refused", "130 interrupted"):
        assert status in " ".join(run.out.split())


def test_version(alone: CommandLine) -> None:
    assert set(alone.run("version", "--json").json) == {"splitgauge", "python", "platform"}
    assert alone.run("version").out.startswith("splitgauge 0.")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("kind: workload\nid: [1\n", "error: not YAML: expected ',' or ']', but got '<stream end>'. f.yaml:3. "),
        ("id: 1\n", "error: a document says what it is. f.yaml:1 (document 1). Begin it with"),
        ("- 1\n", "error: a document says what it is. f.yaml:1 (document 1). "),
        (WORKLOAD + "timeout_s: 0\n", "error: has to be above 0, not 0. f.yaml:5 (document 1, /timeout_s). "),
        (WORKLOAD + "---\n" + WORKLOAD + "prize: 1\n", "error: unknown field. f.yaml:10 (document 2, /prize). "),
        (WORKLOAD + "price:\n  input_per_milion: 1\n", "error: unknown field. f.yaml:6 (document 1, /price/input_per_"),
        (WORKLOAD + "id: 2\n", "error: 'id' is written twice. f.yaml:5 (document 1). Leave one of them out."),
        ("kind: workload\nid: !!python/name:os.system 1\n", "error: not plain YAML: "),
        (
            "kind: experiment\nname: x\nvariants: []\n",
            "error: f.yaml:1 (document 1, /base_workload_id): is missing, and has no default; ",
        ),
    ],
    ids=["syntax", "no kind", "a list", "value", "second document", "nested", "twice", "tag", "several"],
)
def test_bad_document_is_named_with_its_line(alone: CommandLine, text: str, line: str) -> None:
    (alone.folder / "f.yaml").write_text(text)
    run = alone.run("apply", "-f", "f.yaml")

    assert (run.status, run.out, run.err.count("\n")) == (1, "", 1)
    assert run.err.startswith(line), run.err


@pytest.mark.parametrize("text", ["", "---\n", "# later\n"], ids=["nothing", "empty document", "comment"])
def test_file_without_documents_is_no_success(alone: CommandLine, text: str) -> None:
    (alone.folder / "f.yaml").write_text(text)
    run = alone.run("apply", "-f", "f.yaml")

    assert (run.status, run.out) == (2, "")
    assert "f.yaml holds no document: nothing to apply" in " ".join(run.err.replace("│", " ").split())


def test_experiment_without_an_id_cannot_be_applied_again(alone: CommandLine) -> None:
    (alone.folder / "f.yaml").write_text(
        "kind: experiment\nname: x\nbase_workload_id: 1\nvariants:\n"
        "  - {name: a, workload_id: 1, weight: 1}\n  - {name: b, workload_id: 2, weight: 1}\n"
    )
    assert "f.yaml:1 (document 1, /id)" in alone.run("apply", "-f", "f.yaml").err


def test_file_that_is_not_there(alone: CommandLine) -> None:
    for arguments in (
        ["apply", "-f", "none.yaml"],
        ["reports", "send", "none.json"],
        ["version", "--config", "none.toml"],
    ):
        assert alone.run(*arguments).status in {1, 2}


def test_errors_are_json_on_request(alone: CommandLine) -> None:
    run = alone.run("replay", "nowhere", "--json")
    assert (run.status, run.out) == (4, "")
    assert '"code":"log-unavailable"' in run.err


@pytest.mark.parametrize("command", [["tail", "decisions"], ["export", "f"], ["replay"]], ids=" ".join)
def test_no_log_there(alone: CommandLine, command: list[str]) -> None:
    run = alone.run(*command)
    assert run.status == 4
    assert run.err.startswith("error: there is no data folder and no export here. splitgauge-data. ")


def test_unknown_topic(alone: CommandLine) -> None:
    run = alone.run("tail", "decision")
    assert (run.status, run.err.split(". ")[0]) == (1, "error: there is no topic 'decision'")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("port = 99999\n", "error: setting 'port': has to be at most 65535, not 99999. splitgauge.toml, or "),
        ("prot = 1\n", "error: setting 'prot': unknown. splitgauge.toml, or SPLITGAUGE_PROT in the environment. "),
        ("port 1\n", "error: not TOML: "),
    ],
    ids=["value", "unknown", "syntax"],
)
def test_bad_settings(alone: CommandLine, text: str, line: str) -> None:
    (alone.folder / "splitgauge.toml").write_text(text)
    run = alone.run("up")
    assert run.status == 1
    assert run.err.startswith(line), run.err


def test_interrupted_follower_ends_quietly(up: CommandLine) -> None:
    process = up.start("tail", "decisions", "--follow")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "")


def test_follower_shows_what_comes(up: CommandLine) -> None:
    process = up.start("tail", "decisions", "--follow", "--json")
    assert process.stdout is not None
    process.stdout.readline()
    (up.folder / "late.yaml").write_text(WORKLOAD.replace("id: 1", "id: late"))
    up.run("apply", "-f", "late.yaml")
    assert '"subject":"late"' in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)


def test_reader_that_leaves_is_no_error(up: CommandLine) -> None:
    process = up.start("tail", "decisions", "--follow")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    (up.folder / "more.yaml").write_text(WORKLOAD.replace("id: 1", "id: more"))
    up.run("apply", "-f", "more.yaml")
    process.wait(timeout=30)
    assert process.stderr is not None
    assert (process.returncode, process.stderr.read()) == (141, "")
    process.stderr.close()
    assert process.stdin is not None
    process.stdin.close()


def test_plain_lines_without_a_terminal(up: CommandLine) -> None:
    for arguments in (["workloads", "list"], ["--help"], ["export", "plain.jsonl"], ["nonsense"]):
        run = up.run_apart(*arguments)
        assert "\x1b" not in run.out + run.err


@pytest.mark.skipif(sys.platform == "win32", reason="pty")
def test_console_script_is_the_same(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("splitgauge")
    assert os.access(script, os.X_OK)
    assert CommandLine(tmp_path).run_apart("version").status == 0
