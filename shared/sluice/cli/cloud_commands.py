"""`sluice up`, `down`, `status`, `env`: the local cloud from the command line."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from sluice.local.cloud import Cloud

MIB = 1024 * 1024


def _state_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--state",
        "state_root",
        type=click.Path(file_okay=False, path_type=Path, resolve_path=True),
        envvar="SLUICE_STATE",
        help="Directory of this local cloud.  [default: .sluice beside the checkout's README]",
    )(command)


def _json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


@click.command()
@click.option("--port", "gateway", type=int, help="Port of the gateway.  [default: 8080]")
@click.option("--storage-port", "storage", type=int, help="Cloud Storage, http.  [default: 8081]")
@click.option(
    "--storage-https-port",
    "storage_https",
    type=int,
    help="Cloud Storage, https, for gsutil.  [default: 8082]",
)
@click.option("--postgres-port", "postgres", type=int, help="PostgreSQL.  [default: 8083]")
@click.option("--pubsub-port", "pubsub", type=int, help="Pub/Sub.  [default: 8085]")
@click.option("--free-ports", is_flag=True, help="Take ports that are free, for a second cloud.")
@click.option(
    "--pubsub",
    "provider",
    type=click.Choice(["embedded", "google"]),
    default="embedded",
    show_default=True,
    help="The embedded Pub/Sub, or Google's emulator from the Cloud SDK.",
)
@click.option(
    "--loaders", type=click.IntRange(1), help="Processes that load chunks.  [default: cores]"
)
@_state_option
def up(
    state_root: Path | None,
    provider: str,
    loaders: int | None,
    free_ports: bool,  # click's way
    **ports: int | None,
) -> None:
    """Start the local cloud, or what of it does not run.

    PostgreSQL, Cloud Storage, Pub/Sub and every function, on this machine, without an account.
    Safe to repeat: after a crash it goes on where it was. Ports once chosen are kept.
    """
    cloud = _cloud(state_root)
    known = type(cloud.ports).free() if free_ports else cloud.ports
    chosen = replace(known, **{name: port for name, port in ports.items() if port is not None})
    cloud = replace(
        cloud,
        ports=chosen,
        provider=type(cloud.provider)(provider),
        loaders=loaders or cloud.loaders,
    )
    cloud.up(_report)
    click.echo(f"The local cloud is up at {cloud.url}")
    click.echo('  eval "$(sluice env)"   makes gcloud storage, gsutil and psql talk to it')
    click.echo("  sluice down            stops it and keeps its data")


@click.command()
@_state_option
def down(state_root: Path | None) -> None:
    """Stop the local cloud; its data stays."""
    cloud = _cloud(state_root)
    cloud.down(_report)
    click.echo(f"The local cloud is down; its data is in {cloud.state.root}")


@click.command()
@_json_option
@_state_option
def status(state_root: Path | None, as_json: bool) -> None:  # click's way
    """Show each part of the local cloud, and what waits in Pub/Sub.

    The exit code is 1 unless every part runs.
    """
    cloud = _cloud(state_root)
    found = cloud.status()
    backlogs = cloud.backlogs()
    if as_json:
        click.echo(json.dumps({"parts": [asdict(each) for each in found], "backlogs": backlogs}))
    else:
        for part in found:
            memory = f"{part.resident_bytes // MIB} MiB" if part.pid else ""
            click.echo(
                f"{part.name:<12} {part.state:<14} {part.pid or '':>8} {memory:>9}  {part.address}"
            )
        for name, counts in backlogs.items():
            told = ", ".join(f"{count} {word}" for word, count in counts.items())
            click.echo(f"{name:<28} {told}")
    if any(part.state != "running" for part in found):
        raise click.exceptions.Exit(1)


@click.command()
@_json_option
@_state_option
def env(state_root: Path | None, as_json: bool) -> None:  # click's way
    """Print what makes the real tools talk to the local cloud: eval "$(sluice env)".

    For gcloud storage, gsutil, the Google client libraries, psql and sluice itself.
    """
    from sluice.local.environment import exports, for_tools, write_tool_settings  # noqa: PLC0415

    cloud = _cloud(state_root)
    write_tool_settings(cloud)
    variables = for_tools(cloud)
    click.echo(json.dumps(variables) if as_json else exports(variables))


COMMANDS = (up, down, status, env)


def _cloud(state_root: Path | None) -> Cloud:
    from sluice.local.cloud import Cloud  # noqa: PLC0415  # heavy; other commands need none of it
    from sluice.local.state import State, default_root  # noqa: PLC0415

    return Cloud.last_started(State(state_root or default_root()))


def _report(line: str) -> None:
    click.echo(f"  {line}", err=True)
