"""The reference page covers every command and is current."""

from __future__ import annotations

from pathlib import Path

from sluice.cli import options
from sluice.cli.main import sluice
from sluice.cli.reference import main, render

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text("utf-8") == render(), (
        "run PYTHONPATH=shared python -m sluice.cli.reference --write docs/cli.md"
    )


def test_the_page_has_a_section_for_each_command() -> None:
    assert [name for name in sluice.commands if f"### sluice {name}\n" not in render()] == []


def test_the_page_is_written_to_the_given_file(tmp_path: Path) -> None:
    main(["--write", str(tmp_path / "cli.md")])
    assert (tmp_path / "cli.md").read_text("utf-8") == render()


def test_the_page_has_each_exit_code() -> None:
    codes = [value for name, value in vars(options).items() if name.startswith("EXIT_")]
    assert codes
    assert [code for code in codes if f"\n| {code} | " not in render()] == []
