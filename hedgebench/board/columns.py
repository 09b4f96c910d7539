"""The columns of a leaderboard: a metric of one eval, version, setting and data each, with what its card says. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from hedgebench.board.sources import declared, plain
from hedgebench.made_with import settings
from hedgebench.one_line import natural

if TYPE_CHECKING:
    from hedgebench.board.sources import Source
    from hedgebench.registry import Plugin
    from hedgebench.types import Metric

FIRST = 8
"""Columns that are shown to begin with."""


class Setting(NamedTuple):
    """What one run of an eval is of: numbers of two settings are never in one column."""

    eval: str
    eval_version: int | None
    data: str | None
    config: str | None


class Key(NamedTuple):
    """What a column is of."""

    setting: Setting
    metric: str
    params: str


class Column(NamedTuple):
    """One metric, and what its card says."""

    key: Key
    apart: str
    """What tells it from other columns of the same metric, in words; empty where there is none."""
    higher_is_better: bool | None
    metric: Metric | None
    """As its eval declares it; None where no such eval is installed."""
    package: str
    """That brings the eval, with its version; empty where none is installed."""
    declared_version: int | None
    """Of the eval that is installed."""
    first: bool
    """Whether it is shown to begin with."""
    noise: list[Mapping[str, Any]]
    """Rows of `stats.tables.noise`, one for each place."""

    @property
    def name(self) -> str:
        """The metric with its parameters."""
        return f"{self.key.metric} {self.key.params}".strip()


def key_of(row: Mapping[str, Any]) -> Key:
    """The column of a row of any table that has `stats.grid.COLUMN`."""
    version = None if row["eval_version"] is None else int(row["eval_version"])
    return Key(Setting(row["eval"], version, row["data"], row["config"]), row["metric"], row["params"])


def make_columns(source: Source, noise: Sequence[Mapping[str, Any]]) -> list[Column]:
    """The columns, evals as the table has them and metrics as their eval declares them.

    Args:
        source: The numbers.
        noise: Rows of `stats.tables.noise`.
    """
    keys = ["eval", "eval_version", "metric", "params", "data", "config", "higher_is_better"]
    rows = plain(source.scores.drop_duplicates(keys)[keys])
    ways: dict[Key, bool | None] = {key_of(row): row["higher_is_better"] for row in reversed(rows)}
    evals = declared({key.setting.eval for key in ways})
    ordered = sorted(dict.fromkeys(key_of(row) for row in rows), key=_order(rows, evals))
    first = set(_first(ordered, ways))
    moved: dict[Key, list[Mapping[str, Any]]] = {}
    for row in noise:
        moved.setdefault(key_of(row), []).append(row)
    columns = []
    for key in ordered:
        plugin = evals.get(key.setting.eval)
        columns.append(
            Column(
                key,
                _apart(key, ordered),
                ways[key],
                next((m for m in plugin.object.metrics if m.name == key.metric), None) if plugin else None,
                f"{plugin.package} {plugin.package_version}" if plugin else "",
                plugin.object.version if plugin else None,
                key in first,
                moved.get(key, []),
            )
        )
    return columns


def _order(rows: Sequence[Mapping[str, Any]], evals: Mapping[str, Plugin]) -> Any:
    """By eval and setting as they come, by metric as declared (others after, as they come), by parameters as numbers go."""
    settings_: dict[Setting, int] = {}
    metrics: dict[tuple[str, str], int] = {}
    for row in rows:
        key = key_of(row)
        settings_.setdefault(key.setting, len(settings_))
        metrics.setdefault((key.setting.eval, key.metric), len(metrics))
    evals_ = {name: i for i, name in enumerate(dict.fromkeys(row["eval"] for row in rows))}
    for name, plugin in evals.items():
        for i, metric in enumerate(plugin.object.metrics):
            metrics[name, metric.name] = i - len(plugin.object.metrics)

    def order(key: Key) -> tuple[Any, ...]:
        name = key.setting.eval
        return evals_[name], settings_[key.setting], metrics[name, key.metric], natural(key.params)

    return order


def _first(ordered: Sequence[Key], ways: Mapping[Key, bool | None]) -> list[Key]:
    """The columns to begin with: in turn the first metrics of each setting that have a better end, with their first parameters; of a setting without any, its first metric.

    A metric called `upstream_...` is SAEBench's number beside one that is put right, and comes after all others.
    """
    queues = []
    for setting in dict.fromkeys(key.setting for key in ordered):
        of_each = {key.metric: key for key in reversed(ordered) if key.setting == setting}
        keys = sorted(reversed(of_each.values()), key=lambda key: key.metric.startswith("upstream_"))
        queues.append([key for key in keys if ways[key] is not None] or keys[:1])
    return list(_in_turn(queues))[:FIRST]


def _in_turn(queues: Sequence[Sequence[Key]]) -> Iterator[Key]:
    for i in range(max(map(len, queues), default=0)):
        yield from (queue[i] for queue in queues if i < len(queue))


def _apart(key: Key, columns: Sequence[Key]) -> str:
    """In words, where a column differs from others of the same metric and parameters of the same eval."""
    same = [other for other in columns if (other.setting.eval, *other[1:]) == (key.setting.eval, *key[1:])]
    if len(same) < 2:
        return ""
    parts = [parts_of(other.setting) for other in same]
    mine = parts_of(key.setting)
    names = dict.fromkeys(name for part in parts for name in part)
    return ", ".join(mine.get(name) or f"no {name}" for name in names if len({p.get(name) for p in parts}) > 1)


def parts_of(setting: Setting) -> dict[str, str]:
    """What a setting says, in words, by the name of each part: `version 1`, `on the text`, `n = 2`."""
    found = {"version": f"version {setting.eval_version}"} if setting.eval_version is not None else {}
    found |= {"data": f"on {setting.data}"} if setting.data is not None else {}
    return found | {name: f"{name} = {value}" for name, value in settings(setting.config).items()}
