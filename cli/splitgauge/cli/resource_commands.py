"""`splitgauge apply`, `workloads ...` and `experiments ...`: the control plane from the command line."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast
from urllib.parse import quote

import typer

from splitgauge.cli.client import Answer, Client, path_of
from splitgauge.cli.failures import EXIT_REFUSED, guarded, one_line
from splitgauge.cli.options import DEFAULT_URL, AsJson, Reason, Url, read_numbers
from splitgauge.cli.output import print_json, print_line, print_table
from splitgauge.cli.results_table import print_results
from splitgauge.schemas.errors import ConflictError
from splitgauge.schemas.problem import problem_of

if TYPE_CHECKING:
    from splitgauge.cli.apply import Applied

__all__ = ["apply_command", "experiments", "workloads"]

workloads = typer.Typer(no_args_is_help=True, help="What callers can ask for: list, show, delete.")
experiments = typer.Typer(no_args_is_help=True, help="Experiments: list, show, steer, results.")


def _some(value: str) -> str:
    """An empty id would ask for the list of all."""
    if not value:
        raise typer.BadParameter("it is empty; name one, as `list` shows them")
    return value


WorkloadId = Annotated[str, typer.Argument(help="Id or name of the workload.", metavar="WORKLOAD", callback=_some)]
ExperimentId = Annotated[str, typer.Argument(help="Id of the experiment.", metavar="EXPERIMENT", callback=_some)]
_CHANGED = ("id", "status", "winner", "variants")
"""Of an experiment after a change: what is told of it."""

Variant = Annotated[str | None, typer.Option("--variant", help="Which variant.", show_default=False)]


def apply_command(
    file: Annotated[Path, typer.Option("-f", "--file", help="YAML documents, `kind: workload` or `kind: experiment`.")],
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> int:
    """Define or change workloads and draft experiments as a file says; what is so already stays untouched."""
    from splitgauge.cli.apply import apply_document
    from splitgauge.cli.documents import read_documents

    documents = read_documents(file)
    if not documents:
        raise typer.BadParameter(f"{file} holds no document: nothing to apply", param_hint="'-f' / '--file'")
    client = Client(url)
    applied = [apply_document(client, document) for document in documents]
    if as_json:
        print_json({"documents": [_applied_json(result) for result in applied]})
    else:
        for result in applied:
            print_line(_applied_line(result))
    return EXIT_REFUSED if any(result.outcome == "refused" for result in applied) else 0


def _applied_json(result: "Applied") -> dict[str, Any]:
    document = result.document
    return {
        "place": document.place,
        "kind": document.kind,
        "id": document.id,
        "outcome": result.outcome,
        "activated": result.activated,
        **({"error": problem_of(result.error)} if result.error is not None else {}),
    }


def _applied_line(result: "Applied") -> str:
    line = f"{result.document.kind} {result.document.id}: {result.outcome}"
    if result.activated:
        line += ", activated"
    return line if result.error is None else f"{line} ({result.document.place}): {one_line(result.error)}"


@workloads.command("list")
@guarded
def list_workloads(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """All workloads."""
    items = _all(Client(url), path_of("workloads"))
    if as_json:
        print_json(items)
        return
    columns = ("id", "name", "provider", "url", "model", "serves")
    print_table(
        columns, [[w["id"], w["name"] or None, w["provider"], w["url"], w.get("model"), _serves(w)] for w in items]
    )


@workloads.command("show")
@guarded
def show_workload(workload: WorkloadId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """One workload: its definition, and what it serves."""
    _show(Client(url).get(path_of("workloads", workload), "id", "revision"), as_json=as_json)


@workloads.command("delete")
@guarded
def delete_workload(workload: WorkloadId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Retire a workload: no traffic any more."""
    answer = Client(url).call("DELETE", path_of("workloads", workload), needs=("id", "retired"))
    if as_json:
        print_json(answer.body)
    else:
        print_line(f"workload {answer.body['id']}: retired")


@experiments.command("list")
@guarded
def list_experiments(
    status: Annotated[str | None, typer.Option(help="Only those in this state.", show_default=False)] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """All experiments."""
    items = _all(Client(url), path_of("ab-tests"), f"&status={quote(status)}" if status else "")
    if as_json:
        print_json(items)
        return
    columns = ("id", "status", "workload", "traffic", "winner", "name")
    print_table(
        columns, [[e["id"], e["status"], e["base_workload_id"], _split(e), e["winner"], e["name"]] for e in items]
    )


@experiments.command("show")
@guarded
def show_experiment(experiment: ExperimentId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """One experiment: where it stands, and its specification with all defaults."""
    _show(Client(url).get(path_of("ab-tests", experiment), "id", "revision"), as_json=as_json)


@experiments.command("results")
@guarded
def results(experiment: ExperimentId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Numbers per variant, and what follows from them."""
    body = (
        Client(url).get(path_of("ab-tests", experiment) + "/results", "id", "variants", "comparisons", "verdict").body
    )
    if as_json:
        print_json(body)
    else:
        print_results(body)


@experiments.command("promote")
@guarded
def promote(
    experiment: ExperimentId,
    variant: Variant = None,
    reason: Reason = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Give a variant all traffic and complete; without --variant, the winner of the latest analysis."""
    _act(url, experiment, "promote", as_json=as_json, variant=variant, reason=reason)


@experiments.command("roll-back")
@guarded
def roll_back(
    experiment: ExperimentId,
    variant: Variant = None,
    reason: Reason = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Give a challenger's traffic back to control; with the last challenger the experiment completes."""
    _act(url, experiment, "roll-back", as_json=as_json, variant=variant, reason=reason)


@experiments.command("weights")
@guarded
def weights(
    experiment: ExperimentId,
    pairs: Annotated[list[str], typer.Argument(help="A weight for every variant.", metavar="VARIANT=WEIGHT...")],
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Re-weight: the fewest units change their variant."""
    answer = Client(url).call(
        "PUT",
        f"{path_of('ab-tests', experiment)}/weights",
        read_numbers(pairs, where="WEIGHT"),
        needs=_CHANGED,
    )
    _print_changed(answer, as_json=as_json)


@experiments.command("confirm")
@guarded
def confirm(experiment: ExperimentId, reason: Reason = None, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Carry out what the analyzer recommends."""
    _answer_recommendation(url, experiment, "confirm", reason=reason, as_json=as_json)


@experiments.command("dismiss")
@guarded
def dismiss(experiment: ExperimentId, reason: Reason = None, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Turn down what the analyzer recommends."""
    _answer_recommendation(url, experiment, "dismiss", reason=reason, as_json=as_json)


def _answer_recommendation(url: str, experiment: str, verb: str, *, reason: str | None, as_json: bool) -> None:
    client, path = Client(url), path_of("ab-tests", experiment)
    found = client.get(path, "id", "recommendation")
    standing = found.body["recommendation"]
    if standing is None:
        raise ConflictError(
            "nothing is recommended now", where=f"experiment {experiment}", remedy="Look at its results"
        )
    # If-Match: what is confirmed is what was read, not what replaced it meanwhile.
    answer = client.call(
        "POST",
        f"{path}/recommendations/{quote(standing['id'], safe='')}/{verb}",
        {"reason": reason} if reason else None,
        headers={"If-Match": found.etag or "*"},
        needs=_CHANGED,
    )
    _print_changed(answer, as_json=as_json)


def _add_action(action: str, summary: str) -> None:
    def act(experiment: ExperimentId, reason: Reason = None, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
        _act(url, experiment, action, as_json=as_json, reason=reason)

    experiments.command(action, help=summary)(guarded(act))


_add_action("activate", "Start a draft: everything that runs is frozen.")
_add_action("pause", "Stop its traffic, keep its numbers.")
_add_action("resume", "Go on after a pause.")
_add_action("complete", "End it and leave the base workload as it is.")


def _act(url: str, experiment: str, action: str, *, as_json: bool, **said: str | None) -> None:
    body = {key: value for key, value in said.items() if value is not None}
    answer = Client(url).call("POST", f"{path_of('ab-tests', experiment)}/{action}", body or None, needs=_CHANGED)
    _print_changed(answer, as_json=as_json)


def _print_changed(answer: Answer, *, as_json: bool) -> None:
    body = answer.body
    if as_json:
        print_json(body)
        return
    winner = f", winner {body['winner']}" if body["winner"] else ""
    print_line(f"experiment {body['id']}: {body['status']}{winner} ({_split(body)})")


def _all(client: Client, path: str, query: str = "") -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = client.get(f"{path}?limit=1000&after={after}{query}", "items", "next").body
        items += page["items"]
        after = page["next"]
    return items


def _show(answer: Answer, *, as_json: bool) -> None:
    if as_json:
        print_json(answer.body)
        return
    for line in _lines(answer.body):
        print_line(line)


def _lines(value: dict[str, Any], indent: str = "") -> list[str]:
    """YAML-like, for reading; what is empty or unset is left out."""
    lines: list[str] = []
    for key, item in value.items():
        if isinstance(item, dict):
            inner = _lines(cast("dict[str, Any]", item), indent + "  ")
        elif isinstance(item, list):
            inner = _list_lines(item, indent)  # pyright: ignore[reportUnknownArgumentType] - any JSON array
        else:
            lines += [] if item in {None, ""} else [f"{indent}{key}: {item}"]
            continue
        lines += [f"{indent}{key}:", *inner] if inner else []
    return lines


def _list_lines(entries: list[Any], indent: str) -> list[str]:
    return [line for entry in entries for line in _item_lines(entry, indent)]


def _item_lines(entry: object, indent: str) -> list[str]:
    if not isinstance(entry, dict):
        return [f"{indent}  - {entry}"]
    first, *rest = _lines(cast("dict[str, Any]", entry), indent + "    ") or [indent + "    {}"]
    return [f"{indent}  - {first.lstrip()}", *rest]


def _serves(workload: dict[str, Any]) -> str:
    promotion = workload["promotion"]
    return f"{promotion['variant']} of {promotion['experiment_id']}" if promotion else "itself"


def _split(experiment: dict[str, Any]) -> str:
    return ", ".join(f"{variant['name']} {_percent(variant['traffic_percent'])}" for variant in experiment["variants"])


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:g} %"
