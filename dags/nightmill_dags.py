# ruff: noqa: INP001 - the folder that Airflow reads is no package
"""Airflow finds its DAGs here: one for each pipeline below notebooks/.

A pipeline with an error is not among them; nightmill_errors.py beside this file tells why. Where
steps run in pods, `import airflow.providers.cncf.kubernetes.operators.pod` at the top of this file
lets Airflow import the cluster's client once, and not at every parse.
"""

from pathlib import Path

from nightmill.airflow.dags import load_dags

globals().update(load_dags(Path(__file__).parent))
