"""What names an SAE: `--sae`, `--control`, `inspect REF`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from bad_inputs import good
from bad_inputs.cases import Case

ROOM = "reference"


def ref(text: str, said: str, what: str | None = None) -> Case:
    """A reference that stands for nothing."""
    return Case(ROOM, what or f"`--sae '{text}'`", lambda here: good.evaluated(text), said)


def made(what: str, make: Callable[[Path], object], said: str, name: str = "x") -> Case:
    """A reference to something that is no SAE."""

    def there(here: Path) -> Sequence[str]:
        make(here / name)
        return ["inspect", name]

    return Case(ROOM, what, there, said)


CASES = [
    ref("", "an empty reference"),
    ref(" ", "an empty reference; give a path, or release:sae_id"),
    ref("nowhere", "nowhere: no such folder"),
    ref("./nowhere", "./nowhere: no such folder"),
    ref("~nobody-of-this-name/sae", "no such folder"),
    ref("/nowhere/at/all", "/nowhere/at/all: no such folder"),
    ref("nowhere/*", "--sae: no folder or file of weights matches 'nowhere/*'"),
    ref("**/*.npz", "--sae: no folder or file of weights matches '**/*.npz'"),
    ref("[a", "--sae: no folder or file of weights matches '[a'"),
    ref(":", ":: no such folder"),
    ref("gpt2-small-res-jb:", "no such folder"),
    ref(":blocks.7.hook_resid_pre", "no such folder"),
    ref("gpt2-smal-res-jb:blocks.7.hook_resid_pre", "SAELens knows no release 'gpt2-smal-res-jb'; did you mean 'gpt2-small-res-jb'?"),
    ref("gpt2-small-res-jb:blocks.7.hook_resid_pree", "release 'gpt2-small-res-jb' has no SAE 'blocks.7.hook_resid_pree'; did you mean 'blocks.7.hook_resid_pre'?"),
    ref("gpt2-small-res-jb:../../../etc/passwd", "release 'gpt2-small-res-jb' has no SAE '../../../etc/passwd'"),
    ref("gpt2-small-res-jb:/etc/passwd", "release 'gpt2-small-res-jb' has no SAE '/etc/passwd'"),
    ref("gpt2-small-res-jb:no*thing", "--sae: no SAE of release 'gpt2-small-res-jb' matches 'no*thing'"),
    ref("../gpt2:blocks.7", "../gpt2:blocks.7: no such folder"),
    ref("https://huggingface.co/org/sae", "no such folder, and not of the form release:sae_id"),
    ref("file:///etc/passwd", "no such folder"),
    ref("memory:sae", "SAELens knows no release 'memory'"),
    ref("a\x1b(red\nb", "a name with control characters, or that is not UTF-8; rename it", "a name with colours and a line break"),
    ref("a\x00b", "a name with control characters, or that is not UTF-8; rename it", "a name with a NUL"),
    ref("a\udcffb", "a name with control characters, or that is not UTF-8; rename it", "a name that is not UTF-8"),
    ref("x" * 5000, "no such folder", "a name of 5000 letters"),
    ref("gpt2-small-res-jb:" + "x" * 100_000, "hedgebench: release 'gpt2-small-res-jb' has no SAE 'xxx", "an id of 100 000 letters"),
    Case(ROOM, "`inspect nowhere`", lambda here: ["inspect", "nowhere"], "nowhere: no such folder"),
    Case(ROOM, "`inspect ''`", lambda here: ["inspect", ""], "an empty reference"),
    made("an empty folder", Path.mkdir, "x: no cfg.json; a SAELens folder holds cfg.json and sae_weights.safetensors"),
    made("an empty file", Path.touch, "x: not a folder; give the folder that holds cfg.json, or the file of the weights"),
    made("a text", lambda path: path.write_text("hello"), "README.md: not a folder; give the folder", "README.md"),
    made("a pipe", os.mkfifo, "x: not a folder"),
    made("a link to itself", lambda path: path.symlink_to("x"), "x: no such folder"),
    made("a link to nothing", lambda path: path.symlink_to("nowhere"), "x: no such folder"),
    made("a link to a device without end", lambda path: path.symlink_to("/dev/zero"), "x: not a folder"),
    Case(ROOM, "`--control nowhere`", lambda here: ["run", "--sae", str(good.sae(here / "good")), "--control", "nowhere", "--eval", "grow_delta", "--out", "out"], "the control of good: nowhere: no such folder"),
    Case(ROOM, "`--world nowhere`", lambda here: good.evaluated(good.sae(here / "good"), "--world", "nowhere"), "--world nowhere: there is no such folder"),
    Case(ROOM, "`--world` that is no world", lambda here: good.evaluated(good.sae(here / "good"), "--world", "good"), "--world good: it holds no toy world"),
]  # fmt: skip
