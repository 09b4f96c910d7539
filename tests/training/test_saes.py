"""The training classes: the loss they say, at the step they say, and SAELens's own equation where that is mse."""

from __future__ import annotations

import pytest
import torch
from sae_lens import SAE
from sae_lens.registry import get_sae_training_class
from sae_lens.saes.sae import TrainStepInput

from hedgebench.training.losses import LossRatio, LossSchedule
from hedgebench.training.saes import TRAINING_CLASSES

D_IN, D_SAE, BATCH = 12, 24, 64
SPECIAL = {
    "batchtopk": {"k": 4.0},
    "matryoshka_batchtopk": {"k": 4.0, "matryoshka_widths": [6, 12, 24]},
    "topk": {"k": 4},
    "standard": {"l1_coefficient": 0.3},
}
ARCHITECTURES = sorted(SPECIAL)


def build(architecture: str, upstream: bool = False, **fields):
    sae_class, config_class = get_sae_training_class(architecture) if upstream else TRAINING_CLASSES[architecture]
    torch.manual_seed(3)
    return sae_class(config_class(d_in=D_IN, d_sae=D_SAE, **{**SPECIAL[architecture], **fields}))


def batch(seed: int = 0) -> torch.Tensor:
    return torch.randn(BATCH, D_IN, generator=torch.Generator().manual_seed(seed)) * 3 + 1


def step_input(x: torch.Tensor, step: int = 0, dead: bool = False) -> TrainStepInput:
    mask = torch.arange(D_SAE) % 3 == 0 if dead else None
    return TrainStepInput(x, {"l1": 0.3}, mask, step, False)


def gradients(sae) -> list[torch.Tensor]:
    return [p.grad.clone() for p in sae.parameters()]


def step_gradients(sae, x, step, dead=False):
    sae.zero_grad()
    output = sae.training_forward_pass(step_input(x, step, dead))
    output.loss.backward()
    return gradients(sae), output


def closed_form_gradients(sae, x, l2: bool, multipliers=(1.0, 1.0, 1.0)):
    """Gradient of the plain formula, written without SAELens's loss machinery."""
    sae.zero_grad()
    acts = sae.encode(x)
    weights = acts / sae.W_dec.norm(dim=-1) if getattr(sae.cfg, "rescale_acts_by_decoder_norm", False) else acts
    widths = getattr(sae.cfg, "matryoshka_widths", [D_SAE])
    loss = torch.zeros(())
    for width, multiplier in zip(widths, multipliers[-len(widths) :], strict=True):
        squared = ((weights[:, :width] @ sae.W_dec[:width] + sae.b_dec - x) ** 2).sum(dim=-1)
        loss = loss + multiplier * (squared.sqrt() if l2 else squared).mean()
    if sae.cfg.plain_architecture() == "standard":
        loss = loss + 0.3 * (acts * sae.W_dec.norm(dim=-1)).sum(dim=-1).mean()
    loss.backward()
    return gradients(sae)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(
    ("loss", "step", "l2"), [("mse", 9, False), ("l2", 0, True), ("snap", 4, False), ("snap", 5, True)]
)
def test_the_gradient_is_that_of_the_closed_form_on_both_sides_of_the_switch(architecture, loss, step, l2):
    sae = build(architecture, reconstruction_loss=loss, total_steps=10, rescale_with_loss=False)
    found, _ = step_gradients(sae, batch(), step)
    wanted = closed_form_gradients(sae, batch(), l2)
    other = closed_form_gradients(sae, batch(), not l2)
    for f, w, o in zip(found, wanted, other, strict=True):
        torch.testing.assert_close(f, w, rtol=1e-4, atol=1e-6)
        assert not torch.allclose(f, o, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_training_on_mse_gives_saelens_weights_bit_for_bit(architecture):
    saes = [build(architecture), build(architecture, upstream=True)]
    for sae in saes:
        adam = torch.optim.Adam(sae.parameters(), lr=1e-2)
        for i in range(6):
            adam.zero_grad()
            sae.training_forward_pass(step_input(batch(i), i, dead=True)).loss.backward()
            adam.step()
    for ours, theirs in zip(*(sae.state_dict().values() for sae in saes), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0, 2.0])
def test_a_level_counts_balance_to_the_power_of_its_distance_from_the_outermost(balance):
    sae = build("matryoshka_batchtopk", balance=balance)
    found, _ = step_gradients(sae, batch(), 0)
    wanted = closed_form_gradients(sae, batch(), l2=False, multipliers=(balance**2, balance, 1.0))
    for f, w in zip(found, wanted, strict=True):
        torch.testing.assert_close(f, w, rtol=1e-4, atol=1e-5)


def test_balance_zero_trains_as_plain_batchtopk():
    plain, _ = step_gradients(build("batchtopk"), batch(), 0)
    balanced, _ = step_gradients(build("matryoshka_batchtopk", balance=0.0), batch(), 0)
    assert all(torch.equal(a, b) for a, b in zip(plain, balanced, strict=True))


def test_detached_latents_learn_from_their_own_level_alone():
    sae = build("matryoshka_batchtopk", detach_levels=True)
    found, output = step_gradients(sae, batch(), 0)
    by_name = dict(zip((n for n, _ in sae.named_parameters()), found, strict=True))
    weights = (output.feature_acts / sae.W_dec.norm(dim=-1)).detach()
    norms = sae.W_dec.detach().norm(dim=-1)
    previous = 0
    for width in (6, 12, 24):
        sae.zero_grad()
        acts, _ = sae.encode_with_hidden_pre(batch())
        level = acts / sae.W_dec.norm(dim=-1)
        constant = (weights[:, :previous] @ sae.W_dec[:previous]).detach() + sae.b_dec.detach()
        (((level[:, previous:width] @ sae.W_dec[previous:width] + constant) - batch()) ** 2).sum(-1).mean().backward()
        torch.testing.assert_close(
            by_name["W_dec"][previous:width], sae.W_dec.grad[previous:width], rtol=1e-4, atol=1e-5
        )
        torch.testing.assert_close(
            by_name["W_enc"][:, previous:width], sae.W_enc.grad[:, previous:width], rtol=1e-4, atol=1e-5
        )
        previous = width
    assert torch.equal(norms, sae.W_dec.detach().norm(dim=-1))


@pytest.mark.parametrize("architecture", ["batchtopk", "standard"])
def test_the_other_term_is_rescaled_at_the_switch_by_the_ratio_of_the_running_losses(architecture):
    sae = build(architecture, reconstruction_loss="snap", total_steps=10)
    raw = build(architecture, upstream=True)
    ratio = LossRatio()
    name = "l1_loss" if architecture == "standard" else "auxiliary_reconstruction_loss"
    for step in range(8):
        theirs = raw.training_forward_pass(step_input(batch(step), step, dead=True))
        ours = sae.training_forward_pass(step_input(batch(step), step, dead=True))
        if step < 5:
            ratio.update(theirs.sae_out, batch(step))
            assert torch.equal(ours.losses[name], theirs.losses[name])
        else:
            assert ours.losses[name].item() == pytest.approx(theirs.losses[name].item() * ratio.value, rel=1e-5)
    assert 0 < ratio.value < 1
    assert sae.cfg.metadata.loss_rescale == pytest.approx(ratio.value)


def test_l2_from_the_start_is_rescaled_from_the_first_step_and_frozen_where_snap_switches():
    sae = build("standard", reconstruction_loss="l2", total_steps=10)
    seen = []
    for step in range(10):
        sae.training_forward_pass(step_input(batch(0) * (step + 1), step))
        seen.append(sae.cfg.metadata.loss_rescale)
    error = (sae.decode(sae.encode(batch(0))) - batch(0)).detach()
    assert seen[0] == pytest.approx(float(error.norm(dim=-1).mean() / error.pow(2).sum(-1).mean()), rel=1e-4)
    assert len(set(seen[:5])) == 5
    assert len(set(seen[4:])) == 1


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_plain_saelens_loads_the_saved_folder_with_the_same_output_and_metadata(architecture, tmp_path):
    sae = build(architecture, reconstruction_loss="snap", snap_at=0.25, total_steps=10)
    for step in range(10):
        sae.training_forward_pass(step_input(batch(step), step, dead=True))
    sae.cfg.metadata.train_seed = 3
    sae.save_inference_model(tmp_path)
    loaded = SAE.load_from_disk(tmp_path)

    x = batch(99)
    sae.eval()
    acts = sae.encode(x)
    if "batchtopk" in architecture:  # at inference a threshold stands for the top k of a batch
        _, hidden = sae.encode_with_hidden_pre(x)
        acts = hidden * (hidden > sae.topk_threshold)
    torch.testing.assert_close(loaded(x), sae.decode(acts), rtol=1e-4, atol=1e-4)
    assert (loaded.encode(x) != 0).sum() > 0
    metadata = loaded.cfg.metadata
    assert loaded.cfg.architecture() == ("jumprelu" if "batchtopk" in architecture else architecture)
    assert (metadata.training_architecture, metadata.reconstruction_loss) == (architecture, "snap")
    assert (metadata.snap_at, metadata.train_seed) == (0.25, 3)
    assert 0 < metadata.loss_rescale < 1
    for key, value in SPECIAL[architecture].items():
        assert metadata.training_architecture_details.get(key, getattr(loaded.cfg, key, None)) == value


@pytest.mark.parametrize(("snap_at", "total", "first"), [(0.5, 10, 5), (0.5, 11, 6), (0.1, 30, 3), (0.7, 10, 7)])
def test_the_switch_is_the_first_step_at_or_past_the_fraction(snap_at, total, first):
    schedule = LossSchedule("snap", snap_at, total)
    assert next(step for step in range(total) if schedule.is_l2(step)) == first


@pytest.mark.parametrize(
    "wrong", [{"snap_at": 0.0}, {"snap_at": 1.0}, {"reconstruction_loss": "l3"}, {"total_steps": 0}]
)
def test_a_loss_that_cannot_be_scheduled_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        build("batchtopk", **{"reconstruction_loss": "snap", "total_steps": 10, **wrong})
