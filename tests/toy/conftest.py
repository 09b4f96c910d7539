from hedgebench.compat import prepare

prepare()  # the tests import sae_lens themselves
