"""Somebody else's code leaves nothing behind: no global state, no file, no line on standard output."""

from __future__ import annotations

import logging
import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hedgebench.isolation import upstream


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(1))  # noqa: NPY002


def state() -> tuple[object, ...]:
    return random.getstate(), tuple(np.random.get_state()[1]), torch.get_rng_state().tolist(), torch.is_grad_enabled(), torch.get_default_dtype(), Path.cwd(), dict(os.environ)  # noqa: NPY002  # fmt: skip


def misbehave() -> None:
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    os.environ["MADE_UP"] = "1"
    Path("artifacts").mkdir()
    os.chdir("artifacts")
    print("look at me")


@pytest.mark.parametrize("grad", [True, False])
def test_everything_global_is_as_before_also_after_an_error(
    grad: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    with torch.set_grad_enabled(grad):
        before = state()
        with upstream(3):
            misbehave()
        assert state() == before
        with pytest.raises(RuntimeError), upstream(3):
            misbehave()
            raise RuntimeError("upstream failed")
        assert state() == before
    assert list(tmp_path.iterdir()) == []


def test_the_seed_decides_every_generator_and_nothing_drawn_before_does():
    draws = []
    for seed in (5, 5, 6):
        torch.rand(3)
        with upstream(seed):
            draws.append(draw())
    assert draws[0] == draws[1] and all(a != b for a, b in zip(draws[0], draws[2], strict=True))


def test_large_seeds_are_taken():
    with upstream(2**62):
        draw()


def test_gradients_are_on_inside_and_the_folder_is_gone_afterwards():
    with torch.no_grad(), upstream(0) as scratch:
        assert torch.is_grad_enabled() and Path.cwd().samefile(scratch)
    assert not scratch.exists()


def test_what_it_prints_goes_to_the_log_and_not_to_standard_output(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.INFO, "hedgebench.isolation"), upstream(0):
        print("two\nlines")
        print("a bar", file=sys.stderr)
    assert capfd.readouterr() == ("", "")
    assert [r.getMessage() for r in caplog.records] == ["two", "lines"]
