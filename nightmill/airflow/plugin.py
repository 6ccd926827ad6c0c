"""What Airflow loads from this package by itself, through the entry point `airflow.plugins`.

The scheduler reads DAGs from its database and needs the timetable's class to understand them.
"""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from nightmill.airflow.timetable import BoundedCronTimetable


class NightmillPlugin(AirflowPlugin):
    """Nightmill's additions to Airflow."""

    name = "nightmill"
    timetables = [BoundedCronTimetable]  # noqa: RUF012 - as Airflow declares it
