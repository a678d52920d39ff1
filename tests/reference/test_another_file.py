"""Another file of reference cases is run in full, and what came of each of its cases is said."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def case(name: str, method: str, given: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    peer = {"name": "by hand"}
    return {"id": name, "method": method, "peer": peer, "input": given, "expected": expected, "rtol": 1e-9}


def run(tmp_path: Path, *cases: dict[str, Any]) -> str:
    path = tmp_path / "other.json"
    path.write_text(json.dumps({"families": {"any": cases}}), encoding="utf-8")
    test = str(HERE / "test_reference_cases.py")
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", test, "-q", "-p", "no:cacheprovider", "--reference-file", str(path)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=HERE.parents[1],
    )
    return ended.stdout


def test_each_case_is_run_or_left_out_with_a_reason_or_fails_by_name(tmp_path: Path) -> None:
    said = run(
        tmp_path,
        case("right", "bonferroni", {"p_values": [0.01, 0.5], "alpha": 0.05}, {"adjusted": [0.02, 1.0]}),
        case("wrong", "bonferroni", {"p_values": [0.01, 0.5], "alpha": 0.05}, {"adjusted": [0.01, 0.5]}),
        case("out", "proportion_barnard", {"anything": 1}, {"p_value": 0.5}),
        case("new-method", "astrology", {"stars": 3}, {"p_value": 0.5}),
        case("new-key", "bonferroni", {"p_values": [0.01], "alpha": 0.05, "weights": [1]}, {"adjusted": [0.01]}),
        case("new-result", "bonferroni", {"p_values": [0.01], "alpha": 0.05}, {"posterior": 0.5}),
    )
    assert "equal within the tolerance (1):\n  right\n" in said
    assert "failed (4):\n  wrong, new-method, new-key, new-result\n" in said
    assert "left out: Barnard's test: Fisher's is the exact one (1):\n  out\n" in said
    assert "unknown method 'astrology'" in said
    assert "new-key: the adapter of bonferroni does not know the input ['weights']" in said
    assert "the adapter of bonferroni gives no 'posterior'" in said
