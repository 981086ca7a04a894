"""
Where does the model not know?
==============================

The posterior of the Gaussian process gives every energy a standard deviation.  It grows where the training data do not
reach: here, a model that has seen silicon only near equilibrium is asked about hotter and hotter structures.
"""

# %%
# Train on the equation of state, strained and rattled crystals; no molecular dynamics.

import numpy as np

from gapkit import SOAP, DotProduct, GAPRegressor, Noise, Term
from gapkit.datasets import load_silicon

cold = load_silicon(config_types=["isolated_atom", "eos", "strained", "rattled"])
model = GAPRegressor(
    [Term(SOAP(r_cut=5.0), DotProduct(zeta=4), n_sparse=150)], noise=Noise(1e-3, 0.05, 1e-3), random_state=0
).fit(cold)

# %%
# Error and standard deviation of the energy per atom, by temperature; a vacancy is something else again.

import matplotlib.pyplot as plt

for name in ("md_300K", "md_1000K", "md_2000K", "vacancy"):
    frames = load_silicon(config_types=[name])
    n = np.array([len(a) for a in frames])
    energy, std = model.predict(frames, return_std=True)
    error = np.abs(energy - [a.get_potential_energy() for a in frames]) / n
    plt.scatter(1e3 * std / n, 1e3 * error, label=name)
    print(f"{name:9s} mean |error| {1e3 * error.mean():6.2f} meV/atom, mean standard deviation {1e3 * (std / n).mean():6.2f}")
plt.xscale("log")
plt.yscale("log")
plt.xlabel("predicted standard deviation (meV/atom)")
plt.ylabel("|error| (meV/atom)")
plt.legend()
plt.show()

# %%
# Within one structure, the local energies tell which atom is unusual: the neighbours of the vacancy stand out.

vacancy = load_silicon(config_types=["vacancy"])[0]
(prediction,) = model.evaluate([vacancy], uncertainty="exact")
neighbours = [np.count_nonzero(vacancy.get_distances(i, range(len(vacancy)), mic=True) < 2.9) - 1 for i in range(len(vacancy))]
for count in sorted(set(neighbours)):
    mean = np.mean(prediction.energies_std[np.array(neighbours) == count])
    print(f"atoms with {count} neighbours: mean standard deviation {1e3 * mean:.1f} meV")
