"""Nightmill runs, tonight, the notebook you explored with."""

__version__ = "0.1.0"
