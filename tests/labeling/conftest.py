"""Drivers that are killed are children of a server that has gapkit loaded: they start in milliseconds."""

import multiprocessing

multiprocessing.get_context("forkserver").set_forkserver_preload(["gapkit.labeling", "ase.calculators.emt"])
