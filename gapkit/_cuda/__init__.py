"""CUDA: the functions of `gapkit._device` on a GPU, arrays in CuPy.

* ``status``: whether there is a GPU that can be used, and if not, what is missing.
* ``bodies``, ``neighbor_bodies``: one call computes one output.  Plain lazy ``@njit`` functions without barrier, atomic
  operation or trigonometry: the CPU runs them in tests, CUDA kernels call the very same ones.
* ``kernels``: the CUDA kernels, three lines each, with their signatures, block sizes and budgets of registers.
* ``launch``: who runs them.  Everything else calls `launch`, so that tests can run the kernels without a GPU.
* ``neighbors``, ``geometry``, ``soap``, ``kernel_loops``: launches, in the order of a calculation.
* ``engine``: positions in; energy, forces and virial out; all else stays on the device.
* ``selftest``: what anyone with a card runs first.
* ``memory``: how much of it there is, and so how much is done at a time.

Nothing here but the self-test knows descriptors, kernels of Gaussian processes or ASE.  Importing this package imports neither
CuPy nor Numba.
"""
