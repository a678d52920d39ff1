"""Commands that steer: apply, workloads, experiments, reports, against a running server."""

from pathlib import Path

import pytest

from cli_harness import CommandLine

EXAMPLE = Path(__file__).parents[3] / "examples" / "two-models.yaml"

EXPERIMENT = """
kind: experiment
id: {id}
name: A test
base_workload_id: {base}
variants:
  - {{name: control, workload_id: {base}, weight: 1}}
  - {{name: challenger, workload_id: {base}, overrides: {{parameters: {{temperature: 0}}}}, weight: 1}}
activate: true
"""
WORKLOAD = """
kind: workload
id: {base}
provider: webhook
url: http://127.0.0.1:9/{path}
---
"""


@pytest.fixture
def experiment(up: CommandLine, request: pytest.FixtureRequest) -> str:
    """An active experiment of the test's own."""
    name = str(request.node.name).removeprefix("test_").replace("[", "-").replace("]", "")[:60]
    text = WORKLOAD.format(base=f"w-{name}", path="a") + EXPERIMENT.format(base=f"w-{name}", id=name)
    (up.folder / f"{name}.yaml").write_text(text)
    applied = up.run("apply", "-f", f"{name}.yaml")
    assert (applied.status, applied.err) == (0, "")
    return name


def test_example_is_applied_and_applied_again(up: CommandLine) -> None:
    first = up.run("apply", "-f", str(EXAMPLE), "--json")
    again = up.run("apply", "-f", str(EXAMPLE), "--json")

    assert (first.status, [document["outcome"] for document in first.json["documents"]]) == (0, ["created"] * 3)
    assert (again.status, [document["outcome"] for document in again.json["documents"]]) == (0, ["unchanged"] * 3)
    assert first.json["documents"][2] | {"place": ""} == {
        "place": "",
        "kind": "experiment",
        "id": "mistral-vs-llama",
        "outcome": "created",
        "activated": False,
    }


def test_apply_changes_what_differs_and_activates(up: CommandLine) -> None:
    file = up.folder / "steps.yaml"
    draft = EXPERIMENT.format(base=7, id="steps").replace("activate: true", "minimum: {units: 5}\nholdout: 0.1")
    texts = [
        WORKLOAD.format(base=7, path="a") + draft,
        WORKLOAD.format(base=7, path="b") + draft.replace("holdout: 0.1", "activate: true"),
    ]
    outcomes: list[list[tuple[str, bool]]] = []
    for text in [*texts, texts[1]]:
        file.write_text(text)
        documents = up.run("apply", "-f", "steps.yaml", "--json").json["documents"]
        outcomes.append([(document["outcome"], document["activated"]) for document in documents])

    assert outcomes == [
        [("created", False), ("created", False)],
        [("changed", False), ("changed", True)],
        [("unchanged", False), ("unchanged", False)],
    ]
    shown = up.run("experiments", "show", "steps", "--json").json
    assert (shown["status"], shown["specification"]["holdout"], shown["base_workload_id"]) == ("active", 0.0, 7)


def test_apply_reports_what_is_refused_and_goes_on(up: CommandLine, experiment: str) -> None:
    file = up.folder / f"{experiment}.yaml"
    file.write_text(file.read_text().replace("/a", "/other").replace("A test", "Another"))
    refused = up.run("apply", "-f", file.name)

    assert refused.status == 3
    lines = refused.out.splitlines()
    assert lines[0].startswith(f"workload w-{experiment}: refused ({file.name}:2 (document 1)): error: ")
    assert "is in use by experiment" in lines[0]
    assert lines[1].startswith(f"experiment {experiment}: refused")


def test_lifecycle(up: CommandLine, experiment: str) -> None:
    said = [
        up.run("experiments", "pause", experiment, "--reason", "lunch").out,
        up.run("experiments", "resume", experiment).out,
        up.run("experiments", "promote", experiment, "--variant", "challenger", "--reason", "mine").out,
    ]

    assert said == [
        f"experiment {experiment}: paused (control 50 %, challenger 50 %)\n",
        f"experiment {experiment}: active (control 50 %, challenger 50 %)\n",
        f"experiment {experiment}: completed, winner challenger (control 50 %, challenger 50 %)\n",
    ]
    workload = up.run("workloads", "show", f"w-{experiment}", "--json").json
    assert workload["promotion"] == {"experiment_id": experiment, "variant": "challenger"}
    listed = up.run("experiments", "list", "--status", "completed", "--json").json
    assert experiment in [item["id"] for item in listed]


def test_roll_back_and_complete(up: CommandLine, experiment: str) -> None:
    assert "completed, winner control" in up.run("experiments", "roll-back", experiment).out
    refused = up.run("experiments", "complete", experiment)
    assert refused.status == 3
    assert refused.err.startswith(f"error: experiment '{experiment}' is completed: complete is not legal. ")


def test_weights(up: CommandLine, experiment: str) -> None:
    changed = up.run("experiments", "weights", experiment, "control=90", "challenger=10")
    assert changed.out == f"experiment {experiment}: active (control 90 %, challenger 10 %)\n"
    wrong = up.run("experiments", "weights", experiment, "control")
    assert (wrong.status, wrong.err) == (1, "error: 'control' is no NAME=NUMBER. WEIGHT. Write it like control=80.\n")


def test_confirming_where_nothing_is_recommended(up: CommandLine, experiment: str) -> None:
    for verb in ("confirm", "dismiss"):
        refused = up.run("experiments", verb, experiment)
        assert (refused.status, refused.err.split(".")[0]) == (1, "error: nothing is recommended now")


def test_promotion_without_a_winner_is_refused_with_the_reason(up: CommandLine, experiment: str) -> None:
    refused = up.run("experiments", "promote", experiment, "--json")
    assert (refused.status, refused.out) == (3, "")
    assert '"code":"no-winner"' in refused.err


def test_results(up: CommandLine, experiment: str) -> None:
    results = up.run("experiments", "results", experiment, "--json").json
    assert [variant["name"] for variant in results["variants"]] == ["control", "challenger"]
    shown = up.run("experiments", "results", experiment)
    assert (shown.status, shown.out.splitlines()[0]) == (0, f"A test ({experiment}): active, winner inconclusive")


def test_workloads(up: CommandLine) -> None:
    (up.folder / "w.yaml").write_text(WORKLOAD.format(base="old", path="a").removesuffix("---\n"))
    assert up.run("apply", "-f", "w.yaml").out == "workload old: created\n"
    assert "old" in up.run("workloads", "list").out
    assert up.run("workloads", "show", "old").out.splitlines()[0] == "provider: webhook"
    assert up.run("workloads", "delete", "old").out == "workload old: retired\n"
    gone = up.run("workloads", "show", "old")
    assert (gone.status, gone.err) == (
        3,
        "error: there is no workload 'old'. workload. List them to see their ids.\n",
    )


def test_report_for_an_unknown_token_is_refused(up: CommandLine) -> None:
    refused = up.run("reports", "send", "--token", "nonsense", "--metric", "solved=true")
    assert (refused.status, refused.out) == (3, "")
    assert refused.err.startswith("error: ")


def test_reports_from_standard_input(up: CommandLine) -> None:
    lines = (
        '{"unit": "u1", "id": "r1", "metrics": {"solved": true}}\n{"unit": "u2", "id": "r2", "metrics": {"solved": 0}}'
    )
    taken = up.run("reports", "send", "-", stdin=lines)
    assert (taken.status, taken.out, taken.err) == (0, "2 reports taken\n", "")
    damaged = up.run("reports", "send", "-", stdin=lines + "\n{")
    assert (damaged.status, damaged.err.split(". ")[1]) == (1, "-:3")


def test_log_of_a_running_server_is_read_exported_and_replayed(up: CommandLine, experiment: str) -> None:
    newest = up.run("tail", "decisions", "-n", "1", "--json")
    assert newest.json["event"]["subject"] == experiment
    assert up.run("tail", "splitgauge.decisions", "-n", "2").out.count("\n") == 2

    exported = up.run("export", f"{experiment}.jsonl", "--json")
    assert (exported.status, exported.err) == (0, "")
    assert exported.json["events"]["splitgauge.decisions"][0] > 2
    for source in ("data", f"{experiment}.jsonl"):
        replayed = up.run("replay", source, "--json")
        assert (replayed.status, replayed.json["sound"], replayed.json["mismatches"]) == (0, True, 0)

    imported = up.run("import", f"{experiment}.jsonl", "--data", f"copy-{experiment}", "--json")
    assert imported.json == exported.json
    again = up.run("import", f"{experiment}.jsonl", "--data", f"copy-{experiment}")
    assert again.status == 1
    assert again.err.startswith("error: ")


def test_data_folder_of_a_running_server_is_refused(up: CommandLine) -> None:
    refused = up.run("up", "--port", "0")
    assert refused.status == 1
    assert refused.err.startswith("error: ")
    assert "pid" in refused.err or "process" in refused.err


def test_huge_weights_are_percentages_too(up: CommandLine) -> None:
    huge = EXPERIMENT.format(base="w-huge", id="huge").replace("weight: 1", "weight: 1.0e+308")
    text = WORKLOAD.format(base="w-huge", path="a") + huge.replace("activate: true", "activate: false")
    (up.folder / "huge.yaml").write_text(text)
    applied = up.run("apply", "-f", "huge.yaml")
    listed = up.run("experiments", "list")

    assert (applied.status, listed.status) == (0, 0)
    assert "control 50 %, challenger 50 %" in next(line for line in listed.out.splitlines() if line.startswith("huge "))
