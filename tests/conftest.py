"""What many tests need: small SAEs on disk, and a plugin package that is really installed as far as Python can tell."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session", autouse=True)
def _compatible_imports() -> None:
    from hedgebench.compat import prepare

    prepare()


@pytest.fixture(scope="session", autouse=True)
def _warm_workers() -> Iterator[None]:
    """Workers that tests start from this process need not import all again."""
    import warm_worker

    from hedgebench import worker

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "subprocess", warm_worker.popen(worker.subprocess))
        yield


@pytest.fixture
def make_sae() -> Callable[..., Any]:
    """A JumpReLU SAE with random weights: three different sizes, so that no transpose hides."""

    def make(
        seed: int = 0, d_in: int = 8, d_sae: int = 12, hook: str | None = "blocks.1.hook_resid_post", **metadata: Any
    ) -> Any:
        import torch
        from sae_lens import SAE

        generator = torch.Generator().manual_seed(seed)
        sae = SAE.from_dict(
            {
                "architecture": "jumprelu",
                "d_in": d_in,
                "d_sae": d_sae,
                "metadata": {"hook_name": hook, "model_name": "tiny", **metadata},
            }
        )
        weights = {
            "W_dec": 2 * torch.randn(d_sae, d_in, generator=generator),
            "W_enc": torch.randn(d_in, d_sae, generator=generator),
            "b_dec": torch.randn(d_in, generator=generator),
            "b_enc": torch.randn(d_sae, generator=generator),
            "threshold": torch.rand(d_sae, generator=generator),
        }
        sae.load_state_dict(weights)
        return sae

    return make


@pytest.fixture
def save_sae(make_sae: Callable[..., Any]) -> Callable[..., Path]:
    """Such an SAE in SAELens's own files."""

    def save(path: Path, **kwargs: Any) -> Path:
        make_sae(**kwargs).save_model(path)
        return path

    return save


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Install a package that registers evals, for this process and for workers: real metadata, really imported."""
    installed = 0

    def install(source: str, group: str = "hedgebench.evals", **points: str) -> Path:
        nonlocal installed
        installed += 1
        site = tmp_path / f"site{installed}"
        module = f"plugin_{tmp_path.name.replace('-', '_')}_{installed}"
        dist = site / f"{module}-1.0.dist-info"
        dist.mkdir(parents=True)
        (site / f"{module}.py").write_text(textwrap.dedent(source))
        (dist / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        lines = [f"{name} = {module}:{attribute}" for name, attribute in points.items()]
        (dist / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
        monkeypatch.syspath_prepend(site)
        paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
        return site

    yield install


@pytest.fixture
def edit_config() -> Callable[..., None]:
    """Change keys of a saved SAE's cfg.json."""

    def edit(folder: Path, **changes: Any) -> None:
        file = folder / "cfg.json"
        config = json.loads(file.read_text())
        config.update(changes)
        file.write_text(json.dumps(config))

    return edit


@pytest.fixture
def seeds(tmp_path: Path, save_sae: Callable[..., Path]) -> list[Path]:
    """SAEs that differ in their training seed only."""
    from relatives import save_seeds

    return save_seeds(tmp_path, save_sae)


@pytest.fixture
def family(tmp_path: Path, save_sae: Callable[..., Path]) -> dict[str, Path]:
    """A grown SAE and its controls."""
    from relatives import save_family

    return save_family(tmp_path, save_sae)
