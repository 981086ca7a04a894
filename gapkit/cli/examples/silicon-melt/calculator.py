"""The potential of Stillinger and Weber (Phys. Rev. B 31, 5262 (1985)): it stands for a DFT code here."""

from matscipy.calculators.manybody import Manybody
from matscipy.calculators.manybody.explicit_forms import StillingerWeber
from matscipy.calculators.manybody.explicit_forms.stillinger_weber import Stillinger_Weber_PRB_31_5262_Si


def make_calculator():
    """New for each label."""
    return Manybody(**StillingerWeber(Stillinger_Weber_PRB_31_5262_Si))
