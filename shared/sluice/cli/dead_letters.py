"""`sluice dead-letters`: messages that could not be delivered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sluice.cli.options import as_called, connect, examples, json_option
from sluice.cli.output import print_json, print_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from sluice.documents.dead_letters import DeadLetter, DeadLetterOutcome

_EPILOG = examples("sluice dead-letters list", "sluice dead-letters replay --all")


@click.group("dead-letters", epilog=_EPILOG)
def dead_letters() -> None:
    """List, show, replay and drop messages that could not be delivered.

    Pub/Sub sets a message aside that a function refused a hundred times, or a subscription's endpoint twenty
    times. Recovery sends what an ingestion waits for by itself, so most dead letters can be dropped.
    """


@dead_letters.command("list", epilog=examples("sluice dead-letters list"))
@json_option
@click.pass_context
def list_(context: click.Context, as_json: bool) -> None:
    """List the dead letters, the oldest first."""
    found = connect(context).dead_letters.all()
    if as_json:
        print_json(found)
        return
    if found.letters:
        print_rows([_row(each) for each in found.letters])
    else:
        click.echo("no dead letters", err=True)
    if not found.is_complete:
        click.echo("there are more; replay or drop these first", err=True)


@dead_letters.command(epilog=examples("sluice dead-letters show 4711"))
@click.argument("letter")
@json_option
@click.pass_context
def show(context: click.Context, letter: str, as_json: bool) -> None:
    """Show a dead letter with its attributes and its content."""
    found = [each for each in connect(context).dead_letters.all().letters if each.id == letter]
    if not found:
        raise click.UsageError(
            as_called(f"there is no dead letter {letter}; `sluice dead-letters list` lists them")
        )
    if as_json:
        print_json(found[0])
        return
    for name, value in (_row(found[0]) | found[0].attributes).items():
        click.echo(f"{name}: {value}")
    click.echo(f"\n{found[0].data}")


@dead_letters.command(
    epilog=examples("sluice dead-letters replay 4711", "sluice dead-letters replay --all")
)
@click.argument("letters", nargs=-1)
@click.option("--all", "takes_all", is_flag=True, help="All that `list` shows.")
@json_option
@click.pass_context
def replay(
    context: click.Context, letters: tuple[str, ...], takes_all: bool, as_json: bool
) -> None:
    """Publish dead letters again; what they ask for is done once.

    An ingestion that has failed is not started by them: `sluice retry` starts it.
    """
    box = connect(context).dead_letters
    ids = _chosen(context, letters, takes_all=takes_all)
    _print_outcome(box.replay, ids, "published again", as_json=as_json)


@dead_letters.command(
    epilog=examples("sluice dead-letters drop 4711", "sluice dead-letters drop --all")
)
@click.argument("letters", nargs=-1)
@click.option("--all", "takes_all", is_flag=True, help="All that `list` shows.")
@json_option
@click.pass_context
def drop(context: click.Context, letters: tuple[str, ...], takes_all: bool, as_json: bool) -> None:
    """Delete dead letters."""
    box = connect(context).dead_letters
    ids = _chosen(context, letters, takes_all=takes_all)
    _print_outcome(box.drop, ids, "dropped", as_json=as_json)


def _chosen(context: click.Context, letters: tuple[str, ...], *, takes_all: bool) -> list[str]:
    if bool(letters) == takes_all:
        raise click.UsageError("name dead letters, or give --all")
    if letters:
        return list(letters)
    return [each.id for each in connect(context).dead_letters.all().letters]


def _print_outcome(
    act: Callable[[list[str]], DeadLetterOutcome], ids: list[str], done: str, *, as_json: bool
) -> None:
    outcome = act(ids) if ids else None
    if as_json:
        print_json(outcome or {"ids": [], "missing": []})
        return
    count = len(outcome.ids) if outcome else 0
    click.echo(f"{count} dead {'letter' if count == 1 else 'letters'} {done}")
    if outcome and outcome.missing:
        click.echo(f"not found: {' '.join(outcome.missing)}", err=True)


def _row(letter: DeadLetter) -> dict[str, object]:
    return {
        "letter": letter.id,
        "subscription": letter.subscription,
        "about": letter.subject,
        "published": letter.published_at,
        "deliveries": letter.deliveries or "",
    }
