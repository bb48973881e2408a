"""`sluice keys`: who may call the API."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from sluice.cli.options import as_called, connect, examples, json_option
from sluice.cli.output import print_json, print_rows

if TYPE_CHECKING:
    from sluice.client import Key, NewKey

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(\d{1,6})([smhd])")


class Duration(click.ParamType[timedelta]):
    """A number of seconds, written like `90s`, `15m`, `12h` or `30d`."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Read a duration."""
        found = _DURATION.fullmatch(str(value))
        if not found:
            self.fail(f"{value!r} is not a duration: write 90s, 15m, 12h or 30d", param, ctx)
        return timedelta(seconds=int(found[1]) * _UNITS_S[found[2]])


@click.group(
    epilog=examples("sluice keys create partner --role loader --dataset trips", "sluice keys list")
)
def keys() -> None:
    """Create, list, rotate and revoke the keys of the API.

    A key is sent as the bearer token; the command line takes it from the variable SLUICE_TOKEN, or
    from the file that SLUICE_TOKEN_FILE names, so that it is in no list of processes.
    """


@keys.command(
    epilog=examples(
        "sluice keys create dashboard",
        "sluice keys create partner --role loader --dataset trips --expires 90d",
        "sluice keys create 'Ada' --role admin --identity ada@example.org",
    )
)
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(["reader", "loader", "admin"]),
    default="reader",
    show_default=True,
    help="What it may do.",
)
@click.option(
    "--dataset", "datasets", metavar="D", multiple=True, help="Only this dataset; repeatable."
)
@click.option("--pii", is_flag=True, help="It sees the values of columns with personal data.")
@click.option(
    "--identity", metavar="EMAIL", help="For this Google account, which then needs no key."
)
@click.option(
    "--rate",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    help="Allow N requests a minute.  [default: SLUICE_REQUESTS_PER_MINUTE]",
)
@click.option("--expires", type=Duration(), help="Valid for so long, such as 90d.  [default: ever]")
@json_option
@click.pass_context
def create(  # noqa: PLR0913, PLR0917  # an argument for each option
    context: click.Context,
    name: str,
    role: str,
    datasets: tuple[str, ...],
    pii: bool,
    identity: str | None,
    rate: int | None,
    expires: timedelta | None,
    as_json: bool,
) -> None:
    """Create a key and print it: this once, because only a hash of it is stored."""
    expires_at = datetime.now(UTC) + expires if expires else None
    made = connect(context).keys.create(
        name,
        role,
        datasets,
        pii=pii,
        identity=identity,
        expires_at=expires_at,
        requests_per_minute=rate,
    )
    _print_new(made, as_json=as_json)


@keys.command("list", epilog=examples("sluice keys list"))
@json_option
@click.pass_context
def list_(context: click.Context, as_json: bool) -> None:
    """List the keys, the newest first."""
    found = connect(context).keys.all()
    if as_json:
        print_json({"keys": found})
    elif found:
        print_rows([_row(each) for each in found])
    else:
        click.echo(as_called("no keys; `sluice keys create NAME` creates one"), err=True)


@keys.command(epilog=examples("sluice keys rotate 4f2a8c01zz --grace 1d"))
@click.argument("key")
@click.option("--grace", type=Duration(), help="The earlier secret stays valid for so long.")
@json_option
@click.pass_context
def rotate(context: click.Context, key: str, grace: timedelta | None, as_json: bool) -> None:
    """Give a key a new secret and print it; the earlier one is invalid at once, or after --grace."""
    grace_s = int(grace.total_seconds()) if grace else 0
    _print_new(connect(context).keys.rotate(key, grace_s), as_json=as_json)


@keys.command(epilog=examples("sluice keys revoke 4f2a8c01zz"))
@click.argument("key")
@json_option
@click.pass_context
def revoke(context: click.Context, key: str, as_json: bool) -> None:
    """Revoke a key, by its id; it is refused within five seconds."""
    connect(context).keys.revoke(key)
    if as_json:
        print_json({"id": key})
    else:
        click.echo(f"key {key} is revoked")


def _print_new(made: NewKey, *, as_json: bool) -> None:
    if as_json:
        print_json(made)
    elif made.key is None:
        click.echo(f"{made.identity} has the role {made.role} now ({made.id})")
    else:
        click.echo(f"key {made.id} with the role {made.role}; it is not shown again:", err=True)
        click.echo(made.key)


def _row(key: Key) -> dict[str, object]:
    return {
        "key": key.id,
        "name": key.name,
        "role": key.role,
        "datasets": "all" if key.datasets is None else " ".join(key.datasets),
        "pii": "yes" if key.pii else "",
        "identity": key.identity or "",
        "state": key.state,
        "rate": key.requests_per_minute or "",
        "expires": key.expires_at,
        "last used": key.last_used_at,
    }
