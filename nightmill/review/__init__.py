"""The review pages: what ran, what failed and why, what changed, and whether it may be trusted."""
