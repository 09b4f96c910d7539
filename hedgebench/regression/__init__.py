"""Is anything worse than in the baseline, beyond noise? No torch.

`frozen`     a scores table as a baseline: only what a check needs, fit for git
`rules`      what a user says of metrics (tolerance, better end) and of SAEs (which is which), from YAML
`subjects`   which SAEs, or recipes, of the two tables are compared
`cells`      which of their numbers may be compared at all, and which are missing or new
`spread`     how noisy one value is: pure functions of arrays
`noise`      how noisy a difference is: which seeds it may be judged by
`compare`    one metric of one subject: the difference and its noise
`verdicts`   better, same, worse, cannot tell: with control of false alarms over everything that is compared
`check`      all of it, for two scores tables
`foresight`  the smallest change that a check against a baseline would find, from the baseline alone
`text`, `markdown`, `junit`, `as_json`  what came of it
"""
