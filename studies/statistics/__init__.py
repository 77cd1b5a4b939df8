"""How sure a figure is: intervals, two configs compared, what seeds alone change.

Plain numbers in, plain numbers out: imports nothing of ours but spaces.
Quantiles come from scipy.special: scipy.stats, which has friendlier names for them, takes a second to import.
"""
