"""What decisions mean: the state of workloads and experiments as a pure fold, assignment, lifecycle."""

from splitgauge.experiments.assignment import SLOTS, Gate, Seed, coverage_slots, hash_slot
from splitgauge.experiments.history import ZERO_DIGEST, DecisionHistory, Judged, chain, evolve, read_decision
from splitgauge.experiments.legality import LEGAL_ACTIONS
from splitgauge.experiments.lifecycle import apply
from splitgauge.experiments.split_table import SplitTable, from_runs, lay_out, remove, reweight
from splitgauge.experiments.state import Epoch, ExperimentState, Promotion, Registry, Status, WorkloadState

__all__ = [
    "LEGAL_ACTIONS",
    "SLOTS",
    "ZERO_DIGEST",
    "DecisionHistory",
    "Epoch",
    "ExperimentState",
    "Gate",
    "Judged",
    "Promotion",
    "Registry",
    "Seed",
    "SplitTable",
    "Status",
    "WorkloadState",
    "apply",
    "chain",
    "coverage_slots",
    "evolve",
    "from_runs",
    "hash_slot",
    "lay_out",
    "read_decision",
    "remove",
    "reweight",
]
