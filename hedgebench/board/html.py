"""A leaderboard as one HTML file that asks the network for nothing: data, script and style inside, and a policy that lets nothing else run."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from importlib.resources import files
from typing import Any

SCRIPTS = ("dom", "state", "rows", "cell", "table", "dialogs", "controls", "main")
"""Parts of the page's script, in `page/`, in this order."""


def page(data: dict[str, Any]) -> str:
    """The file. Names in the data come from anybody: they are in a block that is no script, and the script makes text of them and nothing else."""
    script = "\n".join(["'use strict';", *(_file(f"{name}.js") for name in SCRIPTS)])
    style = _file("board.css")
    parts = {
        "title": html.escape(str(data["title"])),
        "policy": html.escape(policy(script, style)),
        "style": style,
        "data": json_block(data),
        "script": script,
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _file("board.html"))


def policy(script: str, style: str) -> str:
    """The content security policy: this script and this style, by their hashes, and no request at all."""
    return f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data:; base-uri 'none'; form-action 'none'"


def json_block(data: Any) -> str:
    """JSON that ends no element and starts none, whatever is in it: all but plain ASCII, and `<`, `>`, `&`, are written by their numbers."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", text)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _file(name: str) -> str:
    return (files("hedgebench.board") / "page" / name).read_text(encoding="utf-8")
