"""
Are the error bars right?
=========================

The posterior of a Gaussian process knows what the data leave open, not what its own assumptions leave out: raw standard
deviations are usually too small.  Here is how to see it, and how structures that the fit has not used correct it.
"""

# %%
# Silicon in three parts: one to fit, one to calibrate, one to test.  Structures are drawn at random, all types alike.

import io

import matplotlib.pyplot as plt
import numpy as np

from gapkit import SOAP, DotProduct, GAPRegressor, Noise, Term
from gapkit.datasets import load_silicon

frames = load_silicon()
order = np.random.default_rng(0).permutation(np.arange(1, len(frames)))  # frame 0 is the isolated atom
train, known, test = ([frames[k] for k in part] for part in ([0, *order[:41]], order[41:67], order[67:]))
model = GAPRegressor([Term(SOAP(4.5, 6, 4), DotProduct(zeta=4), n_sparse=150)], noise=Noise(1e-3, 0.03, 1e-3), random_state=0)
model.fit(train)

# %%
# Raw error bars on the test structures.  Few structures decide little: the grey band is what 95 % of perfect models with as
# many structures would show.  The blue curve of the forces lies far below it: too few errors are within their error bars.

from gapkit.report import calibration_figure
from gapkit.validation import error_samples


def errors_of(frames):
    names = ("energy", "forces", "stress")
    return error_samples(frames, model.evaluate(frames, uncertainty="exact", std=names))


def show(figure):
    """In a notebook the figure alone would do."""
    shown = plt.figure(figsize=figure.get_size_inches())
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=150)
    shown.figimage(plt.imread(io.BytesIO(buffer.getvalue())), resize=True)


raw = errors_of(test)
show(calibration_figure(raw))

# %%
# A map for each kind of prediction, from the errors on the second part (``model.calibrate("loo")`` would need no second part).
# Beside it stands the half width of intervals that hold 90 % of the values of a new structure whatever the shape of the errors
# (for Gaussian ones it would be 1.64); with fewer than 9 structures it would be infinite.

model.calibrate(known)
print(model.calibration_)
for kind in model.calibration_.maps:
    print(f"{kind}: 90 % within {model.calibration_.multiplier(kind, 0.9):.2f} calibrated standard deviations")

# %%
# The same test structures, with calibrated error bars.

calibrated = errors_of(test)
show(calibration_figure(calibrated))

# %%
# In numbers, before and after: the mean of z² should be 1, the area 0; and 90 % of the values should lie in the conformal
# interval.

from gapkit.validation.uncertainty import coverage, miscalibration_area, zms

for kind, (r, s, structure, _) in calibrated.items():
    within = coverage(r, s, structure, model.calibration_.multiplier(kind, 0.9))
    z2, area = ([f(r, std) for std in (raw[kind].std, s)] for f in (zms, miscalibration_area))
    print(f"{kind:7s} mean z² {z2[0]:5.2f}, {z2[1]:4.2f}   area {area[0]:.2f}, {area[1]:.2f}   within {100 * within:.0f} %")
