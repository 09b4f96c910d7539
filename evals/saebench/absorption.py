"""SAEBench's absorption: do latents that stand for a word's first letter fail to fire where a more special latent fires in their place?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from hedgebench.compat import prepare
from hedgebench.eval import Eval, EvalContext
from hedgebench.l0_figures import Shown, l0_figure
from hedgebench.types import BadInput, CannotMeasure, Metric, Score

from .absorption_config import AbsorptionConfig

if TYPE_CHECKING:
    from .absorption_probe import Probe

_PAPER = "Chanin et al. 2024, A is for Absorption (arXiv 2409.14507); SAEBench (arXiv 2503.09532)"
_FRACTION = "absorption fraction: of the projection on the probe's direction, the part that up to 3 other latents carry in place of the letter's own; 0 below 0.4 of the whole"
_FULL = "full absorption: no latent of the letter fires, and the latent with the largest projection on the probe's direction carries at least 0.4 of it"

METRICS = (
    Metric("mean_absorption_fraction_score", f"mean over letters of mean_absorption_fraction, the {_FRACTION}", higher_is_better=False, low=0.0, high=1.0, paper=_PAPER),
    Metric("mean_full_absorption_score", f"mean over letters of full_absorption_rate, the share of words with {_FULL}", higher_is_better=False, low=0.0, high=1.0, paper=_PAPER),
    Metric("mean_num_split_features", "mean over letters of num_split_features", unit="latents", higher_is_better=False, low=1.0, paper=_PAPER),
    Metric("std_dev_absorption_fraction_score", "standard deviation over letters of mean_absorption_fraction", low=0.0, paper=_PAPER),
    Metric("std_dev_full_absorption_score", "standard deviation over letters of full_absorption_rate", low=0.0, paper=_PAPER),
    Metric("std_dev_num_split_features", "standard deviation over letters of num_split_features", unit="latents", low=0.0, paper=_PAPER),
    Metric("mean_absorption_fraction", f"mean over the test words of a letter that the probe is right about of the {_FRACTION}", higher_is_better=False, low=0.0, high=1.0, paper=_PAPER),
    Metric("full_absorption_rate", f"share of the test words of a letter that the probe is right about with {_FULL}", higher_is_better=False, low=0.0, high=1.0, paper=_PAPER),
    Metric("num_full_absorption", "number of such words", unit="words", low=0.0, paper=_PAPER),
    Metric("num_probe_true_positives", "test words of a letter that the model's own probe is right about", unit="words", low=0.0, paper=_PAPER),
    Metric("num_split_features", "latents that stand for the letter: each beyond the first raised the F1 of a k-sparse probe by more than the threshold", unit="latents", higher_is_better=False, low=1.0, paper=_PAPER),
    Metric("num_letters", "letters that count: the model's own probe for them is good enough", unit="letters", low=0.0, high=26.0),
    Metric("probe_f1", "F1, on the test words, of the linear probe for a letter on the model's activations; a property of the model", low=0.0, high=1.0, paper=_PAPER),
)  # fmt: skip


class SAEBenchAbsorption(Eval):
    """First-letter absorption, as SAEBench's: its prompts, ground-truth probe, k-sparse probes and absorption calculator do the work.

    A linear probe learns a word's first letter from the model's activation at the word, in prompts like "{word} has the first letter:".
    k-sparse probes find the latents that stand for each letter. Then, for the test words that the linear probe is right about, SAEBench
    asks whether these latents carry the letter's direction, or others do in their place. Letters whose probe has an F1 up to
    `min_GT_probe_f1` do not count; with fewer than `min_feats_for_eval` letters the run is skipped, with the F1s in its reason.

    Equal to a plain run of SAEBench 0.6 whose ground-truth probe is cached and whose generators are seeded right before the part that
    depends on the SAE, if that run sees the vocabulary in the same order. What is different:

    - SAEBench reads `tokenizer.vocab`, whose order is another at every call for a fast tokenizer (vocab.py:17), so its words, prompts and
      numbers cannot be repeated whatever the seed, which it never applies. Here the order is that of the token ids.
    - SAEBench decodes its words a second time when it loads them (common.py:172). Tokenizers that drop a leading space, as those of Llama 2
      and Mistral, then lose it, and the second part asks about other words than the probe learnt from. Here words stay as they are.
    - Words whose prompt has another number of tokens are left out: SAEBench reads the wrong token of some in its first part
      (probing.py:354) and stops with an error in its second. The token that is read is found from the tokenizer, not -6 for all.
    - SAEBench ends at the first SAE of a model whose probes are poor, and says nothing of the others (main.py:112).
    - SAEBench keeps results by the SAE's name in its own package, and a retrained SAE gets the old number (common.py:33). Not here.

    Limits: where a GPU is present SAEBench scores words in bfloat16, whatever the model's type (common.py:29), and so does this. An SAE that
    learnt nothing does not score 0: compare with controls. SAEBench recommends models of 2B parameters and more.

    Source: sae_bench.evals.absorption. `mean_absorption_fraction` was defined anew between SAEBench 0.3 and 0.6.
    """

    name, version = "saebench_absorption", 1
    needs = frozenset({"sae", "model"})
    metrics = METRICS
    figures = (
        l0_figure(
            "rate_against_l0",
            Shown("saebench_absorption", "mean_full_absorption_score", "", "absorption rate"),
            panel="saebench_against_l0",
        ),
        l0_figure(
            "fraction_against_l0",
            Shown("saebench_absorption", "mean_absorption_fraction_score", "", "absorption fraction"),
            panel="saebench_against_l0",
        ),
    )
    packages = ("sae-bench",)
    cost = (
        "shared: the model up to the hook point on about 80 tokens per word, 1.2 times; each SAE adds 26 x max_k_value small regressions; grows "
        "with words_per_letter (SmolLM2, layer 8 of 30, 80 words per letter, one core: 188 s once, 3 s per SAE; SAEBench itself 128 s per SAE: "
        "benchmarks/absorption_sharing.py --counts 1 2 --words-per-letter 80)"
    )

    Config = AbsorptionConfig

    def run(self, ctx: EvalContext, cfg: AbsorptionConfig) -> Iterator[Score]:
        """Measure one SAE."""
        prepare()
        from .absorption_frames import k_sparse, second_part, settled
        from .absorption_output import letters, saebench_fields, scores
        from .absorption_probe import find_probe, recorded_model
        from .class_acts import layer_of

        hook, seed = _check(ctx, cfg), int(ctx.seed or 0)
        probe = find_probe(ctx, cfg, hook)
        f1 = _probe_f1(probe, ctx.device)
        _require_good_probes(f1, cfg)
        model = recorded_model(ctx, cfg, hook, probe)
        cfg = settled(cfg, ctx.sae, probe)
        first = k_sparse(ctx.sae, probe, cfg, ctx.device, seed)
        words = second_part(first, ctx.sae, model, probe, layer_of(hook), cfg, ctx.device, seed)
        found = letters(words, f1, cfg.min_GT_probe_f1)
        ctx.details.update(saebench_fields(ctx, cfg, found))
        yield from scores(found, f1, len(probe.test_words))


def _check(ctx: EvalContext, cfg: AbsorptionConfig) -> str:
    """The hook point, where SAEBench reads activations for this eval.

    Raises:
        BadInput: It reads none at this SAE's hook point, or vectors of another width.
        CannotMeasure: The SAE has fewer latents than SAEBench asks for.
    """
    from .class_acts import check_hook

    hook = str(ctx.checkpoint.hook)
    if not re.fullmatch(r"blocks\.\d+\.hook_resid_post", hook):
        raise BadInput(f"SAEBench's absorption reads blocks.N.hook_resid_post and no other hook point; this SAE's is {hook!r}")  # fmt: skip
    check_hook(ctx)
    if ctx.sae.cfg.d_in != ctx.model.cfg.d_model:
        raise BadInput(
            f"the SAE expects vectors of width {ctx.sae.cfg.d_in}, but the model's have {ctx.model.cfg.d_model}"
        )
    if ctx.sae.cfg.d_sae < (least := max(10, cfg.max_k_value)):
        raise CannotMeasure(f"SAEBench's absorption looks at the top {least} latents, and this SAE has {ctx.sae.cfg.d_sae}")  # fmt: skip
    return hook


def _probe_f1(probe: Probe, device: str) -> dict[str, float]:
    from sae_bench.evals.absorption.vocab import LETTERS

    from .absorption_frames import f1_by_letter

    values = f1_by_letter(probe.test_scores(device) > 0, probe.test_labels.numpy())
    return dict(zip(LETTERS, map(float, values), strict=True))


def _require_good_probes(f1: Mapping[str, float], cfg: AbsorptionConfig) -> None:
    """Refuse a model whose probes are poor.

    Raises:
        CannotMeasure: Too few letters count.
    """
    good = sum(value > cfg.min_GT_probe_f1 for value in f1.values())
    if good < cfg.min_feats_for_eval:
        each = ", ".join(f"{letter} {value:.2f}" for letter, value in f1.items())
        hint = "" if cfg.words_per_letter is None else " (more words_per_letter make better probes)"
        raise CannotMeasure(
            f"the model's own probes have an F1 above {cfg.min_GT_probe_f1} for {good} of 26 letters, and {cfg.min_feats_for_eval} are needed{hint}: {each}"
        )
