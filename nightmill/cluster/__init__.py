"""The cluster room: node pools, pod manifests, and the preflight. Knows no Airflow."""
