"""Examples in a command's help."""

from __future__ import annotations


def examples(*lines: str) -> str:
    r"""Return an epilog that shows the lines as they are; `\b` keeps click from filling them."""
    word = "Example" if len(lines) == 1 else "Examples"
    return "\n".join(["\b", f"{word}:", *(f"  {line}" for line in lines)])
