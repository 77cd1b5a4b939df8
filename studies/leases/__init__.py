"""Who trains which trial: leases, transactions on running trials, signs of life.

Imports storage.
"""

from mmtuna.studies.leases.leases import Leases
from mmtuna.studies.leases.transactions import End, Lease

__all__ = ["End", "Lease", "Leases"]
