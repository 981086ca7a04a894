"""GFN2-xTB (C. Bannwarth, S. Ehlert, S. Grimme, J. Chem. Theory Comput. 15, 1652 (2019)) through tblite."""

from tblite.ase import TBLite


def make_calculator():
    """New for each label."""
    return TBLite(method="GFN2-xTB", verbosity=0)
