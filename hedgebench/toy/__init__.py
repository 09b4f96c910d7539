"""Toy worlds whose true features are known, closed-form theory, and a trainer for many small SAEs at once."""

from hedgebench.compat import prepare

prepare()  # before any module of this package imports sae_lens
