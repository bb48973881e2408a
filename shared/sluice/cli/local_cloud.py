"""`sluice up`, `down`, `status` and `env`: the local cloud."""

from __future__ import annotations

import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sluice.cli.options import examples, json_option
from sluice.cli.output import print_json, print_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from sluice.local.cloud import Cloud
    from sluice.local.parts import PartStatus

MIB = 1024 * 1024


def _state_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--state",
        "state_root",
        type=click.Path(file_okay=False, path_type=Path, resolve_path=True),
        envvar="SLUICE_STATE",
        help="State directory.  [default: .sluice in the checkout]",
    )(command)


def _port_option(option: str, name: str, default: int, sentence: str) -> Callable[..., Any]:
    return click.option(option, name, type=int, help=f"{sentence}  [default: {default}]")


@click.command(epilog=examples("sluice up", "sluice up --port 9090", "sluice up --pubsub google"))
@_port_option("--port", "gateway", 8080, "Port of the gateway.")
@_port_option("--storage-port", "storage", 8081, "HTTP port of Cloud Storage.")
@_port_option(
    "--storage-https-port", "storage_https", 8082, "HTTPS port of Cloud Storage, for gsutil."
)
@_port_option("--postgres-port", "postgres", 8083, "Port of PostgreSQL.")
@_port_option("--pubsub-port", "pubsub", 8085, "Port of Pub/Sub.")
@click.option(
    "--free-ports",
    is_flag=True,
    help="Choose free ports, for a second cloud, and keep them.",
)
@click.option(
    "--pubsub",
    "provider",
    type=click.Choice(["embedded", "google"]),
    help="The embedded Pub/Sub, or the emulator of the Cloud SDK.  [default: embedded]",
)
@click.option(
    "--loaders", type=click.IntRange(1), help="Processes that load chunks.  [default: cores]"
)
@click.option(
    "--authentication",
    type=click.Choice(["none", "required"]),
    help="Whether requests to the API need a key.  [default: none]",
)
@_state_option
def up(
    state_root: Path | None,
    provider: str | None,
    loaders: int | None,
    authentication: str | None,
    free_ports: bool,
    **ports: int | None,
) -> None:
    """Start the local cloud, or those parts of it that are not running.

    Runs PostgreSQL, Cloud Storage, Pub/Sub and all functions on this machine; no account is
    needed. Safe to repeat: after a crash it resumes, after a change of the code it redeploys the
    functions. The options are remembered.
    """
    cloud = _cloud(state_root)
    cloud = cloud.with_free_ports() if free_ports else cloud
    chosen = {name: port for name, port in ports.items() if port is not None}
    cloud = replace(
        cloud,
        ports=replace(cloud.ports, **chosen),
        provider=type(cloud.provider)(provider or cloud.provider),
        loaders=loaders or cloud.loaders,
        authentication=authentication or cloud.authentication,
    )
    cloud.up(_report)
    _print_next_steps(cloud, state_root)


@click.command()
@_state_option
def down(state_root: Path | None) -> None:
    """Stop the local cloud and keep its data."""
    cloud = _cloud(state_root)
    cloud.down(_report)
    click.echo(f"The local cloud is down; its data is in {cloud.state.root}")


@click.command()
@json_option
@_state_option
def status(state_root: Path | None, as_json: bool) -> None:
    """Show the parts of the local cloud and the backlog of each Pub/Sub subscription.

    The exit code is 1 unless all parts are running.
    """
    cloud = _cloud(state_root)
    found, backlogs = cloud.status(), cloud.backlogs()
    if as_json:
        print_json({"parts": [asdict(each) for each in found], "backlogs": backlogs})
    else:
        print_rows([_line(each) for each in found])
        click.echo()
        print_rows([{"subscription": name, **counts} for name, counts in backlogs.items()])
    if any(part.state != "running" for part in found):
        raise click.exceptions.Exit(1)


def _line(part: PartStatus) -> dict[str, object]:
    memory = f"{part.resident_bytes // MIB} MiB" if part.pid else ""
    return {
        "part": part.name,
        "state": part.state,
        "pid": part.pid,
        "memory": memory,
        "address": part.address,
    }


@click.command()
@json_option
@_state_option
def env(state_root: Path | None, as_json: bool) -> None:
    """Print environment variables that point tools at the local cloud: eval "$(sluice env)".

    For gcloud storage, gsutil, the Google client libraries, sluice itself, and psql, as a user
    that reads everything and changes nothing.
    """
    from sluice.local.environment import exports, for_tools, write_tool_settings  # noqa: PLC0415

    cloud = _cloud(state_root)
    write_tool_settings(cloud)
    variables = for_tools(cloud)
    if as_json:
        print_json(variables)
    else:
        click.echo(exports(variables))


COMMANDS = (up, down, status, env)


def _cloud(state_root: Path | None) -> Cloud:
    from sluice.local.cloud import Cloud  # noqa: PLC0415  # slow to import
    from sluice.local.state import State, default_root  # noqa: PLC0415

    return Cloud.last_started(State(state_root or default_root()))


def _report(line: str) -> None:
    from sluice.local.shell import say  # noqa: PLC0415  # slow to import

    say(f"  {line}", err=True)


def _print_next_steps(cloud: Cloud, state_root: Path | None) -> None:
    from sluice.local.shell import program, say  # noqa: PLC0415  # slow to import

    place = f" --state {shlex.quote(str(state_root))}" if state_root else ""
    env, down = f'eval "$({program()} env{place})"', f"{program()} down{place}"
    width = max(len(env), len(down))
    say(f"The local cloud is up at {cloud.url}")
    if cloud.token:
        say("  Requests need a key; `sluice env` has the administrator's, to make others with.")
    else:
        say(
            f"  It is open to all programs on this machine; {program()} up --authentication required"
        )
        say("  asks them for keys.")
    say(f"  {env:<{width}}   points gcloud storage, gsutil and psql at it")
    say(f"  {down:<{width}}   stops it and keeps its data")
