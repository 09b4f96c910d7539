"""The benchmark: one eval, one file. They enter HedgeBench by entry point, as anybody else's do."""
