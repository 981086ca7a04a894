"""
SOAP or symmetry functions?
===========================

The same Gaussian process on the same silicon data with two descriptors: how accurate are they, how much does a prediction
cost, and how many frames do they need?  Settings of both come from the data (`gapkit.model.automatic_terms`).
"""

# %%
# Two models.  Symmetry functions are chosen among 103 candidates: those that the data tell apart.

import timeit

import numpy as np

from gapkit import GAPRegressor, Noise
from gapkit.datasets import load_silicon
from gapkit.model import automatic_terms
from gapkit.validation import error_table

train, test = load_silicon("train"), load_silicon("test")
models = {}
for name, recipe in (("SOAP", "soap"), ("symmetry functions", "acsf")):
    ((key, term),) = automatic_terms(train, recipe)
    term.set_params(n_sparse=300)
    models[name] = GAPRegressor([(key, term)], noise=Noise(1e-3, 0.03, 1e-3), random_state=0)
    print(f"{name}: {term.descriptor}")

# %%
# Learning curves: error of the forces on the test set as the training set grows, and time of an evaluation with forces.

import matplotlib.pyplot as plt

rng = np.random.default_rng(0)
order = np.concatenate([[0], 1 + rng.permutation(len(train) - 1)])  # the isolated atom, then a random order
sizes = (10, 20, 40, len(train))
large = load_silicon(config_types=["md_300K"])[0].repeat(2)

for name, model in models.items():
    errors = []
    for size in sizes:
        frames = [train[k] for k in order[:size]]
        term = model.terms[0][1].set_params(n_sparse=min(300, sum(map(len, frames)) // 2))
        model.fit(frames)
        errors.append(1e3 * error_table(test, model.evaluate(test))[-1].forces_rmse)
    cost = 1e6 * min(timeit.repeat(lambda m=model: m.evaluate([large]), number=1, repeat=5)) / len(large)
    features = model.potential_.terms[0].descriptor.n_features
    plt.plot(sizes, errors, "o-", label=f"{name}: {features} features, {cost:.0f} µs an atom")
    print(f"{name}: {errors[-1]:.0f} meV/Å with all {len(train)} frames")
plt.xscale("log")
plt.yscale("log")
plt.xticks(sizes, [str(s) for s in sizes])
ticks = (50, 100, 200, 500)
plt.yticks(ticks, [str(t) for t in ticks])
plt.minorticks_off()
plt.xlabel("training frames")
plt.ylabel("RMSE of test forces (meV/Å)")
plt.legend()
plt.show()

# %%
# SOAP is the more accurate per frame.  Symmetry functions are few numbers, so that kernels cost less, but every triplet of
# atoms is summed for each function: their cost grows with the square of the number of neighbours (28 here), SOAP's in
# proportion to it.
