"""GPAW (J. J. Mortensen et al., J. Chem. Phys. 160, 092503 (2024)) with the settings of gapkit's own silicon data."""

from gpaw import GPAW, PW, FermiDirac


def make_calculator():
    """New for each label."""
    return GPAW(
        mode=PW(300),
        xc="PBE",
        kpts={"size": (6, 6, 6), "gamma": False},
        occupations=FermiDirac(0.1),
        convergence={"density": 1e-5},
        symmetry={"point_group": False},
        txt=None,
    )
