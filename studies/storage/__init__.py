"""The database of a study: SQLite or Postgres, its lock, its outages.

Imports spec.
"""
