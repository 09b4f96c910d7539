from hedgebench.compat import prepare

prepare()  # the tests import sae_lens themselves

from pathlib import Path  # noqa: E402

import pytest  # noqa: E402


@pytest.fixture(scope="session")
def growing_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, and texts for it."""
    from tiny_models import save_world

    return save_world(tmp_path_factory.mktemp("growing"), 100)


@pytest.fixture(scope="session")
def series(growing_world: Path) -> Path:
    """The folder of one grown series; tests do not change it."""
    from growing_runs import write_config

    from hedgebench.training.runner import train

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEDGEBENCH_CACHE", str(growing_world / "cache"))
        train(write_config(growing_world, growing_world / "train.yaml"), growing_world / "series")
    return growing_world / "series"


@pytest.fixture
def growing_cache(growing_world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Activations of the tiny model are computed once for all tests."""
    monkeypatch.setenv("HEDGEBENCH_CACHE", str(growing_world / "cache"))
