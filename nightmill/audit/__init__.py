"""Audits of outputs before their commit: what `checks:` of pipeline.yaml says, found true or not.

DuckDB is imported only here, and only when a step has checks. The room knows the store, for what
earlier partitions left, and nothing of how a step runs.
"""
