"""The two import traps: each test shows the failure without `prepare` and the success with it, in a fresh process."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
LOAD_LLAMA = "from transformers import LlamaForCausalLM; print('llama', LlamaForCausalLM.__name__)"
PROBE = """
    import torch
    from sae_bench.evals.sparse_probing.probe_training import train_probe_on_activations
    acts = {name: torch.randn(20, 6) for name in ("nurse", "judge")}
    print("accuracy", train_probe_on_activations(acts, acts, select_top_k=2)[1])
"""
PREPARE = "from hedgebench.compat import prepare; prepare(); prepare()"


def python(*source: str, site: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a fresh process in which the packages under `site` come first."""
    code = "\n".join(textwrap.dedent(part) for part in source)
    path = os.pathsep.join(str(p) for p in (site, REPOSITORY) if p)
    kept = {key: value for key, value in os.environ.items() if key != "JAXTYPING_DISABLE"}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**kept, "PYTHONPATH": path, **env},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def torchvision(tmp_path: Path) -> Path:
    """A torchvision that fails as one built for another torch does: after part of it has been imported."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "extension.py").write_text("")
    (package / "__init__.py").write_text(
        "from torchvision import extension\nraise RuntimeError('operator torchvision::nms does not exist')\n"
    )
    dist = tmp_path / "torchvision-99.0.dist-info"
    dist.mkdir()
    (dist / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 99.0\n")
    return tmp_path


def test_a_torchvision_built_for_another_torch_stops_transformers_from_importing_llama(torchvision: Path) -> None:
    done = python(LOAD_LLAMA, site=torchvision)
    assert done.returncode != 0
    assert "LlamaForCausalLM" in done.stderr


def test_prepare_makes_llama_importable_beside_such_a_torchvision(torchvision: Path) -> None:
    check = """
        import importlib.util, sys
        assert importlib.util.find_spec("torchvision") is None
        assert not [name for name in sys.modules if name.startswith("torchvision.")]
    """
    done = python(PREPARE, check, LOAD_LLAMA, site=torchvision)
    assert done.stdout.strip() == "llama LlamaForCausalLM", done.stderr


def test_a_torchvision_that_works_stays(torchvision: Path) -> None:
    (torchvision / "torchvision" / "__init__.py").write_text("works = True\n")
    done = python(PREPARE, "import torchvision; print(torchvision.works)", site=torchvision)
    assert done.stdout.strip() == "True", done.stderr


def test_a_torchvision_that_is_not_installed_is_no_matter() -> None:
    absent = """
        import sys
        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name == "torchvision":
                    raise ModuleNotFoundError("No module named 'torchvision'", name="torchvision")
        sys.meta_path.insert(0, Absent())
    """
    done = python(absent, PREPARE, "import sys; print('torchvision' in sys.modules)")
    assert done.stdout.strip() == "False", done.stderr


def test_saebench_sparse_probing_crashes_on_jaxtyping_and_prepare_cures_it_even_afterwards() -> None:
    hide = "from hedgebench.compat import _hide_broken_torchvision as hide; hide()"
    crash = "    raise SystemExit('no crash: is prepare still needed?')\nexcept Exception as error: print(type(error).__name__)"
    attempt = "try:\n" + textwrap.indent(textwrap.dedent(PROBE), "    ") + "\n" + crash
    done = python(hide, attempt, PREPARE, PROBE)
    assert "BeartypeCallHintParamViolation" in done.stdout, done.stderr
    assert "accuracy {" in done.stdout, done.stderr


def test_prepare_leaves_the_environment_and_an_explicit_choice_alone(torchvision: Path) -> None:
    (torchvision / "torchvision" / "__init__.py").write_text("")
    look = "import jaxtyping, os; print(jaxtyping.config.jaxtyping_disable, os.environ.get('JAXTYPING_DISABLE'))"
    assert python(PREPARE, look, site=torchvision).stdout.strip() == "True None"
    assert python(PREPARE, look, site=torchvision, JAXTYPING_DISABLE="0").stdout.strip() == "False 0"


def test_importing_compat_imports_nothing_outside_the_standard_library() -> None:
    look = "import sys; print([n for n in ('torch', 'jaxtyping', 'torchvision', 'numpy') if n in sys.modules])"
    assert python("import hedgebench.compat", look).stdout.strip() == "[]"


def test_a_plain_file_is_loaded_beside_such_a_torchvision_from_the_command_line(
    torchvision: Path, tmp_path: Path
) -> None:
    from known_formats import write_plain

    file = write_plain(tmp_path / "it.safetensors")
    inspect = f"from hedgebench.cli import main; raise SystemExit(main(['inspect', {str(file)!r}]))"
    done = python(inspect, site=torchvision, HEDGEBENCH_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0 and "standard" in done.stdout, done.stderr
