"""Airflow's side: DAGs from pipelines, and operators that run steps. Imports no Jupyter."""
