"""Training SAEs: reconstruction losses, SAELens training classes with a choice of loss, and one model pass for many SAEs."""

from hedgebench.compat import prepare

prepare()  # before any module of this package imports sae_lens
