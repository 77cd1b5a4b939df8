"""How a search decides: what it knows before trial 1, what it draws, what it stops, how it ends.

Asked by who claims, reads and reports trials; imports neither.
"""
