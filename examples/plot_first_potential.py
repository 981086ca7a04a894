"""
A first potential
=================

Fit silicon, look at the errors on structures that the fit has not seen, and compare the equation of state with DFT.
"""

# %%
# The data: small silicon cells with PBE energies, forces and stresses.  ``info["config_type"]`` says what each is.

from collections import Counter

from gapkit.datasets import load_silicon

train, test = load_silicon("train"), load_silicon("test")
print(Counter(atoms.info["config_type"] for atoms in train))

# %%
# One term: SOAP environments up to 5 Å, compared by the fourth power of their overlap.

from gapkit import SOAP, DotProduct, GAPRegressor, Noise, Term

model = GAPRegressor(
    [Term(SOAP(r_cut=5.0, n_max=8, l_max=6), DotProduct(zeta=4), n_sparse=200)],
    noise=Noise(energy=1e-3, forces=0.05, stress=1e-3),
    random_state=0,
)
model.fit(train)
print(model.e0_, model.e0_source_)

# %%
# Errors per configuration type.

from gapkit.validation import error_table

for row in error_table(test, model.evaluate(test)):
    print(f"{row.config_type:10s} {row.energy_rmse:6.2f} meV/atom  {row.forces_rmse:7.4f} eV/Å  {row.stress_rmse:6.3f} GPa")

# %%
# The equation of state, with the error bar of the model.  DFT points are the ones of the data set.

import matplotlib.pyplot as plt
import numpy as np
from ase.build import bulk

from gapkit.validation import equation_of_state

curve = equation_of_state(model, bulk("Si", a=5.47), np.linspace(16.6, 25.6, 50))
dft = [(a.get_volume() / len(a), a.get_potential_energy() / len(a)) for a in load_silicon(config_types=["eos"])]

plt.fill_between(curve.volume, curve.energy - 2 * curve.energy_std, curve.energy + 2 * curve.energy_std, alpha=0.3)
plt.plot(curve.volume, curve.energy, label="gapkit, ±2 standard deviations")
plt.plot(*np.transpose(dft), "o", color="k", mfc="none", label="DFT")
plt.xlabel("volume (Å³/atom)")
plt.ylabel("energy (eV/atom)")
plt.legend()
plt.show()
