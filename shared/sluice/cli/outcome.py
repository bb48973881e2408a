"""The outcome of an ingestion on the terminal: account, first rejects, problem, exit code."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import click

from sluice.cli.options import EXIT_FAILED, EXIT_REJECTS, EXIT_USAGE, as_called
from sluice.cli.output import cell, count, print_rows
from sluice.errors import remedy_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sluice.client import Client, Ingestion
    from sluice.errors import SluiceError

REJECTS_SHOWN = 5
#: Statuses of a wrong request, as opposed to a failure of the system.
USAGE_STATUSES = frozenset((400, 404, 405, 406, 413, 422))
_LISTING = re.compile(r"GET /v1/(datasets|backups) lists them")
COLORS = {"done": "green", "failed": "red", "cancelled": "red", "skipped": "yellow"}


def exit_code(ingestion: Ingestion) -> int:
    """Return 0 for done and skipped, 3 for done with rejects, 4 for anything else."""
    if ingestion.state == "skipped":
        return 0
    if ingestion.state != "done":
        return EXIT_FAILED
    return EXIT_REJECTS if ingestion.account.rejected else 0


def error_code(error: SluiceError) -> int:
    """Return 2 for a request that the API refused as wrong, 4 for a wrong file and anything else."""
    answer = getattr(error, "answer", None)
    is_usage = answer and answer.status in USAGE_STATUSES and not answer.code.startswith("CSV")
    return EXIT_USAGE if is_usage else EXIT_FAILED


def sentence(error: SluiceError) -> str:
    """Return what an error says, with commands instead of routes."""
    return as_called(_LISTING.sub(r"`sluice \1` lists them", error.detail))


def account_row(ingestion: Ingestion) -> dict[str, object]:
    """Return an ingestion as one row of a table."""
    account = ingestion.account
    return {
        "ingestion": ingestion.id,
        "dataset": ingestion.dataset,
        "object": ingestion.object,
        "state": ingestion.state,
        "read": account.read,
        "loaded": account.loaded,
        "rejected": account.rejected,
        "duplicates": account.duplicates,
        "seconds": None if ingestion.took_s is None else round(ingestion.took_s, 1),
    }


def print_accounts(ingestions: Sequence[Ingestion]) -> None:
    """Print one line for each ingestion: its state and its account."""
    print_rows([account_row(each) for each in ingestions])


def print_outcome(client: Client, ingestion: Ingestion) -> None:
    """Print why an ingestion was skipped or failed, its warnings and its first rejects."""
    if ingestion.state == "skipped":
        why = "; ".join(str(each["message"]) for each in ingestion.warnings)
        click.echo(f"{ingestion.object}: skipped; {why}")
    elif ingestion.state != "done":
        _print_problem(ingestion)
    else:
        for each in ingestion.warnings:
            click.echo(f"{ingestion.object}: warning: {_warning(each)}")
    if ingestion.account.rejected:
        _print_rejects(client, ingestion)


def print_addresses(client: Client, ingestions: Iterable[Ingestion]) -> None:
    """Print, on stderr, where a browser shows the rows of what was loaded; it cannot send a token."""
    if os.environ.get("SLUICE_TOKEN") or os.environ.get("SLUICE_TOKEN_FILE"):
        return
    for dataset in dict.fromkeys(each.dataset for each in ingestions if each.state == "done"):
        if dataset:
            click.echo(f"rows of {dataset}: {client.rows_url(dataset)}", err=True)


def reject_rows(rejects: Iterable[Mapping[str, object]]) -> list[dict[str, object]]:
    """Return the columns of rejects that a table shows; those of a workbook have cells in place of lines."""
    rows = list(rejects)
    place = "cell" if any(each.get("cell") for each in rows) else "line"
    names = (place, "column", "rule", "value", "reason")
    return [{name: each.get(name) for name in names} for each in rows]


def _warning(warning: Mapping[str, object]) -> str:
    """Return a warning with how many rows it concerns."""
    rows = warning.get("rows")
    column = f" (column {cell(warning['column'])})" if warning.get("column") else ""
    message = cell(warning.get("message"))
    return f"{count(rows, 'row')}{column}: {message}" if isinstance(rows, int) and rows else message


def _print_problem(ingestion: Ingestion) -> None:
    state = click.style(ingestion.state, fg=COLORS.get(ingestion.state))
    problem = ingestion.problem
    why = f": {cell(problem.detail)} ({problem.code})" if problem else ""
    click.echo(f"{ingestion.object}: {state}{why}", err=True)
    if ingestion.state in ("failed", "cancelled"):
        code = problem.code if problem else ""
        click.echo(f"  {as_called(_remedy(ingestion, code))}", err=True)


def _remedy(ingestion: Ingestion, code: str) -> str:
    """Return what to do next; rows of a request have no file to read again."""
    return remedy_of(code, ingestion.id) if ingestion.bucket else "send the rows again"


def _print_rejects(client: Client, ingestion: Ingestion) -> None:
    rejected = ingestion.account.rejected
    found = client.rejects_page(ingestion.id, REJECTS_SHOWN)["rejects"][:REJECTS_SHOWN]
    click.echo(f"\n{ingestion.object}: {count(rejected, 'row')} rejected")
    print_rows(reject_rows(found))
    if rejected > len(found):
        more = f"and {rejected - len(found):,} more: `sluice rejects {ingestion.id}` lists them"
        click.echo(as_called(more))
    if ingestion.state == "done" and ingestion.bucket:
        number = ingestion.id
        fix = f"`sluice rejects {number} -o fixed.csv`, edit it, `sluice load fixed.csv --fixes {number}`"
        click.echo(as_called(f"to fix them: {fix}"), err=True)
