"""Children that train a little before trial 1: whether a combination trains, what it takes, what is faster here.

Imports trial and speed.
"""
