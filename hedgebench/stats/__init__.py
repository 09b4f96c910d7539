"""What is noise and what is not. No torch but in `units`, which evals use on tensors.

`units`       errors of one run's numbers, from independent units (sequences, latents)
`intervals`   means over independent units, with Student's interval
`grid`        what of the scores table may be averaged and compared: columns, places, variants; SAEs by evaluation seeds
`components`  how much the training seed and the evaluation seed move a number, and a mean's interval over either
`both_seeds`  a mean's interval over training and evaluation seeds together
`pairwise`    which variants can be told apart, and ranks with ties
`discriminability`  how well a metric tells variants apart
`power`       which difference a number of seeds would find, and how many seeds a difference needs
`ways`        how far a variant is on the way from chance or random controls to the best
`tables`      all of it for a whole scores table
`effects`     what one training setting does to each metric, averaged over another
`differences` what `effects` says of two values of a setting
`answers`     what a metric says of two SAEs of which one is known to be better, and of an SAE made worse step by step
`validity`    whether a metric answers rightly where the answer is known
"""
