"""Runs rounds of random faults and prints a tally: `make chaos ROUNDS=N SEED=S`.

A round that fails is printed with what is wrong and its plan; `FIRST=N ROUNDS=1` and the seed repeat it. The
exit status is 1 if a round failed. SIGTERM ends a run after the current round, with its tally.
"""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import shutil
import signal
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # before grpc is imported
sys.path.insert(0, str(Path(__file__).parent))

from chaos_cloud import ChaosCloud
from chaos_faults import FAULTS
from chaos_invariants import check_run
from chaos_rounds import Outcome, Round, plan_round
from chaos_witness import Witness

from sluice.local.state import CHECKOUT

#: Set to end a run after the current round.
ENDS = threading.Event()


@dataclass
class Tally:
    """What the rounds of a run did."""

    rounds: int = 0
    failed: list[int] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    hit: Counter[str] = field(default_factory=Counter)
    files: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    events: int = 0
    took_s: float = 0.0

    def add(self, number: int, outcome: Outcome) -> None:
        """Count a round."""
        self.rounds += 1
        for name, hits in outcome.faults.items():
            self.faults[name] += hits > 0
            self.hit[name] += hits
        self.files += outcome.files
        self.ends += outcome.checked.ends
        self.rows += outcome.checked.rows
        self.events += outcome.checked.events
        self.took_s += outcome.took_s
        if outcome.checked.problems:
            self.failed.append(number)

    def __str__(self) -> str:
        lines = ["| fault | rounds | times |", "|---|---|---|"]
        lines += [f"| {name} | {self.faults[name]} | {self.hit[name]} |" for name in FAULTS]
        ends = ", ".join(f"{number} {name}" for name, number in self.ends.most_common())
        kinds = ", ".join(f"{number} {name}" for name, number in self.files.most_common())
        lines += [
            "",
            f"{self.rounds} rounds in {self.took_s:.0f} s, {len(self.failed)} failed"
            + (f": {self.failed}" if self.failed else ""),
            f"files: {ends} ({kinds})",
            f"compared: {self.rows} rows, {self.events} events",
        ]
        return "\n".join(lines)


def run(seed: str, first: int, rounds: int, *, keep_going: bool = False) -> Tally:
    """Run rounds in one cloud; after a failure end, unless the rest shall run.

    Args:
        seed: of all rounds.
        first: number of the first round.
        rounds: how many.
        keep_going: whether to continue after a failure.
    """
    tally = Tally()
    with ChaosCloud() as cloud, Witness(cloud.cloud.pubsub_address) as witness:
        allowed = dict(FAULTS)
        if not cloud.has_disk:
            _print("skipped: disk full (a file system in memory needs the rights of root)")
            del allowed["disk full"]
        if not cloud.has_clock:
            _print("skipped: clock skewed (libfaketime has no build for this machine)")
            del allowed["clock skewed"]
        for number in range(first, first + rounds):
            if ENDS.is_set():
                break
            plan = plan_round(seed, number, allowed)
            outcome = Round(cloud, witness, plan).run()
            tally.add(number, outcome)
            names = ", ".join(each.name for each in plan.faults)
            _print(f"round {number}: {outcome.took_s:.1f} s, {names}")
            if outcome.checked.problems:
                _print("\n".join(["FAILED", *outcome.checked.problems, str(plan)]))
                _keep_logs(cloud, f"{seed}-{number}")
                if not keep_going:
                    return tally
        if problems := check_run(cloud):
            _print("\n".join(["FAILED after all rounds", *problems]))
            tally.failed.append(first + rounds)
    return tally


def _keep_logs(cloud: ChaosCloud, name: str) -> None:
    folder = CHECKOUT / "build" / "chaos" / name
    shutil.copytree(cloud.cloud.state.root / "log", folder, dirs_exist_ok=True)
    _print(f"the logs of all functions are in {folder.relative_to(CHECKOUT)}")


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seed", default="")
    parser.add_argument("--keep-going", action="store_true")
    given = parser.parse_args()
    seed = given.seed or secrets.token_hex(3)
    # The pool logs each connection that it lost; that is what happens here.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    signal.signal(signal.SIGTERM, lambda *_: ENDS.set())
    _print(f"seed {seed}")
    tally = run(seed, given.first, given.rounds, keep_going=given.keep_going)
    _print(f"{tally}\nseed {seed}")
    sys.exit(bool(tally.failed))


if __name__ == "__main__":
    main()
