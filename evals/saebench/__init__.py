"""SAEBench's evals through HedgeBench's door: shared work, right formulas, and upstream's own numbers beside them."""
