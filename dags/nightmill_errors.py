# ruff: noqa: INP001 - the folder that Airflow reads is no package
"""Airflow shows here what is wrong with a pipeline: as an import error of this file.

Apart from nightmill_dags.py, because Airflow drops all the DAGs of a file that raises.
"""

from pathlib import Path

from nightmill.airflow.dags import raise_errors

raise_errors(Path(__file__).parent)
