"""`tabcast bench gpu-check`: whether a GPU computes what it should; a check that fails stops no other."""
